/* Programs that hand data from warp to warp without a barrier of the block, right, and with one thing wrong. Each is
 * a template over what is wrong; RIGHT is nothing. All write to out what they received: 32 words of 100 + lane. */
#include <cuda/atomic>
#include <cuda/barrier>

enum { RIGHT, NO_WRITER_FENCE, NO_READER_FENCE, NO_WAIT, RELAXED, NO_LOCK, WRITES_LATE, NO_BARRIER };

using block_flag = cuda::atomic_ref<int, cuda::thread_scope_block>;

/* A volatile flag and fences; the barrier before makes the flag's first value known. */
template <int wrong> __device__ void volatile_flag(int *out) {
    __shared__ int data[32], flag;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (warp == 0)
        data[lane] = 0;
    if (threadIdx.x == 0)
        flag = 0;
    __syncthreads();
    if (warp == 0) {
        data[lane] = 100 + lane;
        __syncwarp();
        if (wrong != NO_WRITER_FENCE)
            __threadfence_block();
        if (lane == 0)
            *(volatile int *)&flag = 1;
    } else {
        if (wrong != NO_WAIT)
            while (*(volatile int *)&flag == 0)
                ;
        if (wrong != NO_READER_FENCE)
            __threadfence_block();
        out[lane] = data[lane];
    }
}

/* A flag of the C++ library, with release and acquire or sequentially consistent. */
template <int wrong> __device__ void library_flag(int *out, bool strongest) {
    __shared__ int data[32], word;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (warp == 0)
        data[lane] = 0;
    if (threadIdx.x == 0)
        word = 0;
    __syncthreads();
    block_flag flag(word);
    if (warp == 0) {
        data[lane] = 100 + lane;
        __syncwarp();
        if (lane == 0 && strongest)
            flag.store(1);
        else if (lane == 0)
            flag.store(1, wrong == NO_WRITER_FENCE || wrong == RELAXED ? cuda::memory_order_relaxed
                                                                       : cuda::memory_order_release);
    } else {
        const auto order = wrong == NO_READER_FENCE || wrong == RELAXED ? cuda::memory_order_relaxed
                           : strongest                                  ? cuda::memory_order_seq_cst
                                                                        : cuda::memory_order_acquire;
        while (wrong != NO_WAIT && flag.load(order) == 0)
            ;
        out[lane] = data[lane];
    }
}

/* The flag lies in global memory, what it guards in shared memory. */
template <int wrong> __device__ void global_flag(int *out, int *word) {
    __shared__ int data[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    cuda::atomic_ref<int, cuda::thread_scope_device> flag(*word);
    if (warp == 0)
        data[lane] = 0;
    __syncthreads();
    if (warp == 0) {
        data[lane] = 100 + lane;
        __syncwarp();
        if (lane == 0)
            flag.store(1, wrong == RELAXED ? cuda::memory_order_relaxed : cuda::memory_order_release);
    } else {
        while (flag.load(cuda::memory_order_acquire) == 0)
            ;
        out[lane] = data[lane];
    }
}

/* One lane waits for the flag, and a barrier hands on what it knows. */
template <int wrong> __device__ void waits_for_all(int *out) {
    __shared__ int data[32], word;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (warp == 0)
        data[lane] = 0;
    if (threadIdx.x == 0)
        word = 0;
    __syncthreads();
    block_flag flag(word);
    if (warp == 0) {
        data[lane] = 100 + lane;
        __threadfence_block();
        flag.fetch_add(1, cuda::memory_order_relaxed);
    } else {
        if (threadIdx.x == 32)
            while (flag.load(cuda::memory_order_acquire) != 32)
                ;
        if (wrong != NO_BARRIER)
            asm volatile("bar.sync 1, 64;" ::: "memory");
        if (warp == 2)
            out[lane] = data[lane];
    }
}

/* Producers arrive at a named barrier and go on, consumers wait at it. */
template <int wrong> __device__ void named_barrier(int *out) {
    __shared__ int data[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (warp == 0)
        data[lane] = 0;
    __syncthreads();
    if (warp == 0) {
        if (wrong != WRITES_LATE)
            data[lane] = 100 + lane;
        asm volatile("bar.arrive 1, 64;" ::: "memory");
        if (wrong == WRITES_LATE)
            data[lane] = 100 + lane;
    } else {
        if (wrong != NO_WAIT)
            asm volatile("bar.sync 1, 64;" ::: "memory");
        out[lane] = data[lane];
    }
}

/* The library's barrier, whose state is a word of shared memory: arriving releases, waiting acquires. */
template <int wrong> __device__ void library_barrier(int *out) {
    using barrier = cuda::barrier<cuda::thread_scope_block>;
    __shared__ int data[2][32];
    __shared__ alignas(barrier) unsigned char place[sizeof(barrier)];
    barrier *b = (barrier *)place;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    data[warp][lane] = 0;
    if (threadIdx.x == 0)
        init(b, (int)blockDim.x);
    __syncthreads();
    data[warp][lane] = 50 + lane / 2;
    auto token = b->arrive();
    if (wrong == WRITES_LATE)
        data[warp][lane] = 50 + lane / 2;
    if (wrong != NO_WAIT)
        b->wait(static_cast<barrier::arrival_token &&>(token));
    const int sum = data[0][lane] + data[1][lane ^ 1];
    b->arrive_and_wait();
    data[warp ^ 1][lane] = lane & 1; /* the second phase lets each overwrite what the other read */
    if (warp == 0)
        out[lane] = sum + (lane & 1);
}

/* A lock round plain words, taken by each thread in turn. */
template <int wrong> __device__ void spin_lock(int *out) {
    __shared__ int lock, count;
    const int lane = threadIdx.x % 32;
    if (threadIdx.x == 0)
        lock = count = 0;
    __syncthreads();
    bool done = false;
    while (!done) {
        if (wrong == NO_LOCK || atomicCAS(&lock, 0, 1) == 0) {
            if (wrong != NO_READER_FENCE)
                __threadfence_block();
            count++;
            if (wrong != NO_WRITER_FENCE)
                __threadfence_block();
            atomicExch(&lock, 0);
            done = true;
        }
    }
    __syncthreads();
    if (threadIdx.x < 32)
        out[lane] = count == (int)blockDim.x ? 100 + lane : count;
}

/* Each warp leaves a part; whoever comes last adds them up. */
template <int wrong> __device__ void last_one_adds(int *out) {
    __shared__ int part[4][32], n;
    __shared__ bool last[4];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    part[warp][lane] = 0;
    if (threadIdx.x == 0)
        n = 0;
    __syncthreads();
    part[warp][lane] = 25;
    if (wrong != NO_WRITER_FENCE)
        __threadfence_block();
    __syncwarp();
    if (lane == 0)
        last[warp] = atomicAdd(&n, 1) == (int)blockDim.x / 32 - 1;
    if (wrong != NO_READER_FENCE)
        __threadfence_block();
    __syncwarp();
    if (last[warp]) {
        int sum = lane;
        for (int i = 0; i < (int)blockDim.x / 32; i++)
            sum += part[i][lane];
        out[lane] = sum;
    }
}

/* A release is continued by the atomics of others: the last who reads has the first one's data. */
template <int wrong> __device__ void release_sequence(int *out) {
    __shared__ int data[32], word;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (warp == 0)
        data[lane] = 0;
    if (threadIdx.x == 0)
        word = 0;
    __syncthreads();
    block_flag flag(word);
    if (warp == 0) {
        data[lane] = 100 + lane;
        __syncwarp();
        if (lane == 0)
            flag.store(1, cuda::memory_order_release);
    } else if (warp == 1) {
        if (lane == 0) {
            while (flag.load(cuda::memory_order_relaxed) != 1)
                ;
            if (wrong == RELAXED) /* another store, which breaks it */
                flag.store(2, cuda::memory_order_relaxed);
            else
                flag.fetch_add(1, cuda::memory_order_relaxed);
        }
    } else {
        while (flag.load(cuda::memory_order_relaxed) != 2)
            ; /* one that acquired might find the 1, and be ordered by that */
        (void)flag.load(cuda::memory_order_acquire);
        out[lane] = data[lane];
    }
}

/* Lanes of one warp. */
template <int wrong> __device__ void inside_a_warp(int *out) {
    __shared__ int data, word;
    const int lane = threadIdx.x % 32;
    if (threadIdx.x == 0)
        data = word = 0;
    __syncthreads();
    block_flag flag(word);
    if (lane == 5) {
        data = 100;
        flag.store(1, wrong == RELAXED ? cuda::memory_order_relaxed : cuda::memory_order_release);
    } else {
        while (flag.load(cuda::memory_order_acquire) == 0)
            ;
        out[lane] = data + lane;
        if (lane == 6)
            out[5] = data + 5;
    }
}

/* Atomics of all, and a barrier to their plain reads. */
template <int wrong> __device__ void histogram(int *out) {
    __shared__ int bins[32];
    const int lane = threadIdx.x % 32;
    if (threadIdx.x < 32)
        bins[lane] = 0;
    __syncthreads();
    if (threadIdx.x < 32)
        bins[lane] = 100 + lane;
    if (wrong != NO_WRITER_FENCE)
        __syncthreads();
    atomicAdd(&bins[(threadIdx.x * 7) % 32], 1);
    atomicSub(&bins[(threadIdx.x * 5 + 1) % 32], 1);
    if (wrong != NO_READER_FENCE)
        __syncthreads();
    if (threadIdx.x < 32)
        out[lane] = bins[lane];
    if (wrong == WRITES_LATE && threadIdx.x == 32)
        bins[0] = 0;
}

/* All accesses volatile: no data beside them, and so nothing to order. */
template <int wrong> __device__ void volatile_words(int *out) {
    __shared__ int words[2];
    volatile int *v = words;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (threadIdx.x == 0)
        v[0] = v[1] = 0;
    __syncthreads();
    if (warp == 0 && lane == 0) {
        v[0] = 1;
        while (v[1] == 0)
            ;
        if (wrong == RELAXED)
            words[0] = 2;
        else
            v[0] = 2;
    }
    if (warp == 1) {
        while (v[0] == 0)
            ;
        v[1] = 1;
        while (v[0] != 2)
            ;
        out[lane] = 98 + lane + v[0];
    }
}

#define KERNEL(name, twin, call)                                                                             \
    extern "C" __global__ void name##_##twin(int *out, int *word) {                                          \
        (void)word;                                                                                          \
        call;                                                                                                \
    }
KERNEL(volatile_flag, right, volatile_flag<RIGHT>(out))
KERNEL(volatile_flag, wrong1, volatile_flag<NO_WRITER_FENCE>(out))
KERNEL(volatile_flag, wrong2, volatile_flag<NO_READER_FENCE>(out))
KERNEL(volatile_flag, wrong3, volatile_flag<NO_WAIT>(out))
KERNEL(library_flag, right, library_flag<RIGHT>(out, false))
KERNEL(library_flag, wrong1, library_flag<NO_WRITER_FENCE>(out, false))
KERNEL(library_flag, wrong2, library_flag<NO_READER_FENCE>(out, false))
KERNEL(library_flag, wrong3, library_flag<NO_WAIT>(out, false))
KERNEL(library_flag, wrong4, library_flag<RELAXED>(out, false))
KERNEL(strongest_flag, right, library_flag<RIGHT>(out, true))
KERNEL(strongest_flag, wrong1, library_flag<NO_READER_FENCE>(out, true))
KERNEL(global_flag, right, global_flag<RIGHT>(out, word))
KERNEL(global_flag, wrong1, global_flag<RELAXED>(out, word))
KERNEL(waits_for_all, right, waits_for_all<RIGHT>(out))
KERNEL(waits_for_all, wrong1, waits_for_all<NO_BARRIER>(out))
KERNEL(named_barrier, right, named_barrier<RIGHT>(out))
KERNEL(named_barrier, wrong1, named_barrier<WRITES_LATE>(out))
KERNEL(named_barrier, wrong2, named_barrier<NO_WAIT>(out))
KERNEL(library_barrier, right, library_barrier<RIGHT>(out))
KERNEL(library_barrier, wrong1, library_barrier<WRITES_LATE>(out))
KERNEL(library_barrier, wrong2, library_barrier<NO_WAIT>(out))
KERNEL(spin_lock, right, spin_lock<RIGHT>(out))
KERNEL(spin_lock, wrong1, spin_lock<NO_LOCK>(out))
KERNEL(spin_lock, wrong2, spin_lock<NO_WRITER_FENCE>(out))
KERNEL(spin_lock, wrong3, spin_lock<NO_READER_FENCE>(out))
KERNEL(last_one_adds, right, last_one_adds<RIGHT>(out))
KERNEL(last_one_adds, wrong1, last_one_adds<NO_WRITER_FENCE>(out))
KERNEL(release_sequence, right, release_sequence<RIGHT>(out))
KERNEL(release_sequence, wrong1, release_sequence<RELAXED>(out))
KERNEL(inside_a_warp, right, inside_a_warp<RIGHT>(out))
KERNEL(inside_a_warp, wrong1, inside_a_warp<RELAXED>(out))
KERNEL(histogram, right, histogram<RIGHT>(out))
KERNEL(histogram, wrong1, histogram<NO_WRITER_FENCE>(out))
KERNEL(histogram, wrong2, histogram<NO_READER_FENCE>(out))
KERNEL(histogram, wrong3, histogram<WRITES_LATE>(out))
KERNEL(volatile_words, right, volatile_words<RIGHT>(out))
KERNEL(volatile_words, wrong1, volatile_words<RELAXED>(out))
