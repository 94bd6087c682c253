// What the kernels need of the machine, by name: memory accesses, conversions, shuffles, barriers.
// All inline PTX is here, and in dynorm/arithmetic.cuh what other kernels may want, too.
// tests/cuda_host/device.h has a twin of each function, with which the same kernels are compiled for
// the host.
#pragma once

#include "dynorm/arithmetic.cuh"

using dynorm::absolute;
using dynorm::max_nan;
using dynorm::min_nan;
using dynorm::multiply_add;
using dynorm::reciprocal_fast;

#ifdef DYNORM_HOST
#include "device.h"
#else

using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

#define DEVICE static __device__ __forceinline__
#define MEMBER __device__ __forceinline__
// `count` elements that the threads of a block share.
#define SHARED(type, name, count) __shared__ type name[count]
// A kernel that is given an `args` of this type.
#define KERNEL_WITH(Arguments, name, max_threads, min_blocks)                                    \
    extern "C" __global__ void __launch_bounds__(max_threads, min_blocks)                        \
        name(const __grid_constant__ Arguments args)
#define KERNEL(name, max_threads, min_blocks) KERNEL_WITH(Args, name, max_threads, min_blocks)

DEVICE u32 thread_index() { return threadIdx.x; }
DEVICE u32 block_index() { return blockIdx.x; }
DEVICE u32 block_threads() { return blockDim.x; }

// The lower word of `high` and `low` together, moved right by less than 32 bits.
DEVICE u32 shift_right(u32 low, u32 high, u32 bits) { return __funnelshift_r(low, high, bits); }

// Two bytes, and two half words, to one word, `low` lowest; the two bytes' upper half is anything.
DEVICE u32 pack_low_bytes(u32 low, u32 high) { return __byte_perm(low, high, 0x0040); }
DEVICE u32 pack_low_halves(u32 low, u32 high) { return __byte_perm(low, high, 0x5410); }

DEVICE float as_float(u32 bits) { return __uint_as_float(bits); }
DEVICE u32 as_bits(float value) { return __float_as_uint(value); }
// Rounded to nearest; right for 0, subnormals and infinity.
DEVICE float rsqrt_exact(float a) { return __frsqrt_rn(a); }

// Rounded to nearest.
DEVICE float reciprocal_exact(float a) { return __frcp_rn(a); }
DEVICE float divide_exact(float a, float b) { return __fdiv_rn(a, b); }
// The larger, or the one that is not NaN.
DEVICE float max_number(float a, float b) { return fmaxf(a, b); }

DEVICE float f16_to_float(u32 low_half) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(static_cast<u16>(low_half)));
    return r;
}
// Two values to one word, `low` in its lower half; to nearest even, NaN stays NaN.
DEVICE u32 pack_f16(float low, float high) {
    u32 r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
DEVICE u32 pack_bf16(float low, float high) {
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

// To the nearest integer, halves to the even one; NaN to 0.
DEVICE u32 round_to_integer(float a) {
    u32 r;
    asm("cvt.rni.s32.f32 %0, %1;" : "=r"(r) : "f"(a));
    return r;
}
#if __CUDA_ARCH__ >= 890
#define DYNORM_E4M3
// Two values to the lower half of a word, `low` in its lower byte: E4M3 as the OCP has it, to nearest
// even, what is out of range to the largest value of its sign.
DEVICE u32 pack_e4m3(float low, float high) {
    u16 r;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(r) : "f"(high), "f"(low));
    return r;
}
#endif

// Keeps the compiler from reusing what it computed from `word` before: a row kept as it lay in
// memory is widened once a pass, instead of being kept in twice the registers as well.
DEVICE void forget(u32& word) { asm volatile("" : "+r"(word)); }
DEVICE void forget(u64& number) { asm volatile("" : "+l"(number)); }

// Accesses of 2 to 16 bytes at multiples of their size. Loads are volatile so that none moves
// above `wait_for_previous_grid`.
DEVICE u32 load_2(u64 address) {
    u16 half;
    asm volatile("ld.global.u16 %0, [%1];" : "=h"(half) : "l"(address));
    return half;
}
DEVICE void load_4(u32* word, u64 address) {
    asm volatile("ld.global.u32 %0, [%1];" : "=r"(word[0]) : "l"(address));
}
DEVICE void load_8(u32* word, u64 address) {
    asm volatile("ld.global.v2.u32 {%0, %1}, [%2];"
                 : "=r"(word[0]), "=r"(word[1])
                 : "l"(address));
}
DEVICE void load_16(u32* word, u64 address) {
    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                 : "l"(address));
}
// As above; what is not loaded keeps its value. Predicated, because branches would keep loads from
// being in flight together.
DEVICE void load_2_if(bool when, u32& word, u64 address) {
    u16 half = static_cast<u16>(word);
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.u32 p, %2, 0;\n\t@p ld.global.u16 %0, [%1];\n\t}"
                 : "+h"(half)
                 : "l"(address), "r"(u32(when)));
    word = half;
}
DEVICE void load_4_if(bool when, u32* word, u64 address) {
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.u32 p, %2, 0;\n\t@p ld.global.u32 %0, [%1];\n\t}"
                 : "+r"(word[0])
                 : "l"(address), "r"(u32(when)));
}
DEVICE void load_8_if(bool when, u32* word, u64 address) {
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.u32 p, %3, 0;\n\t"
                 "@p ld.global.v2.u32 {%0, %1}, [%2];\n\t}"
                 : "+r"(word[0]), "+r"(word[1])
                 : "l"(address), "r"(u32(when)));
}
DEVICE void load_16_if(bool when, u32* word, u64 address) {
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.u32 p, %5, 0;\n\t"
                 "@p ld.global.v4.u32 {%0, %1, %2, %3}, [%4];\n\t}"
                 : "+r"(word[0]), "+r"(word[1]), "+r"(word[2]), "+r"(word[3])
                 : "l"(address), "r"(u32(when)));
}

DEVICE void store_1(u64 address, u32 word) {
    asm volatile("st.global.u8 [%0], %1;" ::"l"(address), "r"(word) : "memory");
}
DEVICE void store_2(u64 address, u32 word) {
    asm volatile("st.global.u16 [%0], %1;" ::"l"(address), "h"(static_cast<u16>(word)) : "memory");
}
DEVICE void store_4(u64 address, const u32* word) {
    asm volatile("st.global.u32 [%0], %1;" ::"l"(address), "r"(word[0]) : "memory");
}
DEVICE void store_8(u64 address, const u32* word) {
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(address), "r"(word[0]), "r"(word[1])
                 : "memory");
}
DEVICE void store_16(u64 address, const u32* word) {
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(word[0]),
                 "r"(word[1]), "r"(word[2]), "r"(word[3])
                 : "memory");
}
// Brings the address's cache line into L2.
DEVICE void prefetch(u64 address) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

// The value of the lane whose number differs in the bits of `mask`; all lanes take part.
DEVICE float shuffle_xor(float value, u32 mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
}
// Whether it is so in any lane; all lanes take part.
DEVICE bool any_in_warp(bool so) { return __any_sync(0xffffffffu, so); }
DEVICE void block_barrier() { __syncthreads(); }

#if __CUDA_ARCH__ >= 900
// Programmatic dependent launch: what the previous kernel wrote may be read after the first;
// the next kernel, if it was launched with the attribute, may start after the second.
DEVICE void wait_for_previous_grid() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
DEVICE void allow_next_grid() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }

// Volatile, so that they are read again where needed rather than kept in a register.
DEVICE u32 cluster_index() {
    u32 index;
    asm volatile("mov.u32 %0, %%clusterid.x;" : "=r"(index));
    return index;
}
DEVICE u32 cluster_rank() {
    u32 rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
// What each thread of a cluster wrote before it arrives, all may read after they waited.
DEVICE void cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
DEVICE void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
// `own`, an address in this block's shared memory, as block `rank` of the cluster has it.
DEVICE float read_shared_of(const float* own, u32 rank) {
    float value;
    asm volatile("{\n\t.reg .u32 a;\n\tmapa.shared::cluster.u32 a, %1, %2;\n\t"
                 "ld.shared::cluster.f32 %0, [a];\n\t}"
                 : "=f"(value)
                 : "r"(static_cast<u32>(__cvta_generic_to_shared(own))), "r"(rank)
                 : "memory");
    return value;
}
#else
DEVICE void wait_for_previous_grid() {}
DEVICE void allow_next_grid() {}
#endif

#endif
