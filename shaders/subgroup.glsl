// subgroup.glsl: the lanes of a subgroup, and what they tell each other. The only file with subgroup operations.
//
// The includer has defined LOCAL_SIZE. Every lane of a subgroup calls a shuffle, in control flow that is
// uniform within it: what an idle lane would hand out is undefined.
//
// EMULATED_SUBGROUP is defined in a build for tests: that many neighbours in the work-group play a subgroup and
// exchange through shared memory, so that 32 and 64 lanes run on a driver whose subgroups are narrower. Its
// barriers are met by the lanes of one emulated subgroup, not by the whole work-group: lavapipe's, which only
// switch from one of its subgroups to the next, bear that; a GPU would not.
#ifndef EMULATED_SUBGROUP
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require

#define MIN_SUBGROUP 4u // the narrowest that there is

uint subgroup_width() {
    return gl_SubgroupSize;
}

uint subgroup_lane() {
    return gl_SubgroupInvocationID;
}

uint subgroup_index() {
    return gl_SubgroupID;
}

uint subgroup_count() {
    return gl_NumSubgroups;
}

uint subgroup_shuffle(uint x, uint lane) {
    return subgroupShuffle(x, lane);
}

float subgroup_shuffle(float x, uint lane) {
    return subgroupShuffle(x, lane);
}

uint subgroup_shuffle_xor(uint x, uint mask) {
    return subgroupShuffleXor(x, mask);
}

float subgroup_shuffle_xor(float x, uint mask) {
    return subgroupShuffleXor(x, mask);
}

vec3 subgroup_shuffle_xor(vec3 x, uint mask) {
    return subgroupShuffleXor(x, mask);
}

vec4 subgroup_shuffle_xor(vec4 x, uint mask) {
    return subgroupShuffleXor(x, mask);
}
#else
#define MIN_SUBGROUP EMULATED_SUBGROUP

shared uint subgroup_told[LOCAL_SIZE];

uint subgroup_width() {
    return EMULATED_SUBGROUP;
}

uint subgroup_lane() {
    return gl_LocalInvocationIndex % EMULATED_SUBGROUP;
}

uint subgroup_index() {
    return gl_LocalInvocationIndex / EMULATED_SUBGROUP;
}

uint subgroup_count() {
    return LOCAL_SIZE / EMULATED_SUBGROUP;
}

uint subgroup_shuffle(uint x, uint lane) {
    subgroup_told[gl_LocalInvocationIndex] = x;
    barrier();
    x = subgroup_told[subgroup_index() * EMULATED_SUBGROUP + lane % EMULATED_SUBGROUP];
    barrier();
    return x;
}

float subgroup_shuffle(float x, uint lane) {
    return uintBitsToFloat(subgroup_shuffle(floatBitsToUint(x), lane));
}

uint subgroup_shuffle_xor(uint x, uint mask) {
    return subgroup_shuffle(x, subgroup_lane() ^ mask);
}

float subgroup_shuffle_xor(float x, uint mask) {
    return uintBitsToFloat(subgroup_shuffle_xor(floatBitsToUint(x), mask));
}

vec3 subgroup_shuffle_xor(vec3 x, uint mask) {
    return vec3(subgroup_shuffle_xor(x.x, mask), subgroup_shuffle_xor(x.y, mask), subgroup_shuffle_xor(x.z, mask));
}

vec4 subgroup_shuffle_xor(vec4 x, uint mask) {
    return vec4(subgroup_shuffle_xor(x.xyz, mask), subgroup_shuffle_xor(x.w, mask));
}
#endif
