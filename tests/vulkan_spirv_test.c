/* What the Vulkan plugin adds to its shaders on devices with subgroup-uniform control flow: for every module
 * that ships.
 *
 * usage: vulkan_spirv_test SPIRV-VAL FOLDER      FOLDER: *.spv
 */
#include "../vulkan/spirv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_WORDS (1u << 20)
#define HEADER 5u

static const char *validator, *folder;
static uint32_t before[MAX_WORDS], after[MAX_WORDS + VK_SPIRV_MORE_WORDS];

static uint32_t read_module(const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint32_t n = (uint32_t)fread(before, 4, MAX_WORDS, file);
    fclose(file);
    return n;
}

static void validate(const char *name, uint32_t n) {
    char path[] = "/tmp/tandem-spirv-XXXXXX", command[1200];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, after, n * 4ul), n * 4l);
    close(fd);
    snprintf(command, sizeof command, "%s --target-env vulkan1.2 %s", validator, path);
    int status = system(command);
    unlink(path);
    if (status)
        fail_msg("%s is not valid any more", name);
}

static int is_ours(const uint32_t *instruction) {
    uint32_t opcode = instruction[0] & 0xffff;
    if (opcode == 10) /* OpExtension */
        return !strcmp((const char *)&instruction[1], "SPV_KHR_subgroup_uniform_control_flow");
    return opcode == 16 && instruction[2] == 4421; /* OpExecutionMode SubgroupUniformControlFlowKHR */
}

/* Two instructions come in, the rest stays as it was. */
static void check_module(const char *name) {
    uint32_t n = read_module(name), n_after = vk_spirv_uniform_control_flow(before, n, after), n_ours = 0;
    assert_true(n > HEADER);
    assert_int_equal(n_after, n + VK_SPIRV_MORE_WORDS);
    assert_memory_equal(before, after, HEADER * 4);
    for (uint32_t from = HEADER, at = HEADER; at < n_after; at += after[at] >> 16) {
        if (is_ours(&after[at])) {
            n_ours++;
            continue;
        }
        assert_memory_equal(&after[at], &before[from], (after[at] >> 16) * 4ul);
        from += before[from] >> 16;
    }
    assert_int_equal(n_ours, 2);
    validate(name, n_after);
}

static void shaders_ask_for_uniform_control_flow(void **state) {
    (void)state;
    uint32_t n = 0;
    DIR *files = opendir(folder);
    assert_non_null(files);
    for (struct dirent *file; (file = readdir(files));)
        if (strstr(file->d_name, ".spv") && !strstr(file->d_name, ".spv.")) {
            check_module(file->d_name);
            n++;
        }
    closedir(files);
    print_message("%u modules\n", n);
    assert_true(n > 50);
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    validator = argv[1];
    folder = argv[2];
    const struct CMUnitTest tests[] = {cmocka_unit_test(shaders_ask_for_uniform_control_flow)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
