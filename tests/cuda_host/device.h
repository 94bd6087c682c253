// The twin of kernels/intrinsics.cuh for the host: each function does what the device's does, and
// tells `host::fault` of what the device would not forgive.
#pragma once

#include "arithmetic.h"

#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>

using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = unsigned long long;

#define DEVICE static inline
#define MEMBER inline
#define __restrict__
#define SHARED(type, name, count)                                                                  \
    static char name##_tag;                                                                        \
    type* const name = static_cast<type*>(host::shared(&name##_tag, sizeof(type) * (count)))
#define KERNEL_WITH(Arguments, name, max_threads, min_blocks)                                      \
    static void name(const Arguments& args);                                                       \
    static const host::Registered name##_registered(#name, name, max_threads);                     \
    static void name(const Arguments& args)
#define KERNEL(name, max_threads, min_blocks) KERNEL_WITH(Args, name, max_threads, min_blocks)

struct Args;

namespace host {
// A kernel with its arguments.
using Work = std::function<void()>;

// Adds a kernel to those that `cuModuleGetFunction` finds. `bind` is given the addresses of its
// arguments.
void add_kernel(const char* name, std::function<Work(void**)> bind, u32 max_threads);

struct Registered {
    template <class... A> Registered(const char* name, void (*kernel)(A...), u32 max_threads) {
        add_kernel(name, binder(kernel, std::index_sequence_for<A...>()), max_threads);
    }

private:
    template <class... A, std::size_t... I>
    static std::function<Work(void**)> binder(void (*kernel)(A...), std::index_sequence<I...>) {
        return [=]([[maybe_unused]] void** arguments) {
            // By value: a launch may be replayed when the caller's are gone.
            return [=, values = std::make_tuple(*static_cast<std::decay_t<A>*>(arguments[I])...)] {
                std::apply(kernel, values);
            };
        };
    }
};

u32 thread_index();
u32 block_index();
u32 block_threads();
u32 cluster_rank();
u32 cluster_index();

void* shared(const void* tag, std::size_t bytes);
float read_shared_of(const float* own, u32 rank);
float shuffle_xor(float value, u32 mask);
bool any_in_warp(bool so);
void block_barrier();
void cluster_arrive();
void cluster_wait();
void wait_for_previous_grid();

void check_access(u64 address, u32 bytes, bool write);
float f16_to_float(u16 half);
u16 float_to_f16(float value);
u16 float_to_bf16(float value);
} // namespace host

DEVICE u32 thread_index() { return host::thread_index(); }
DEVICE u32 block_index() { return host::block_index(); }
DEVICE u32 block_threads() { return host::block_threads(); }

DEVICE u32 shift_right(u32 low, u32 high, u32 bits) {
    return u32((u64(high) << 32 | low) >> (bits % 32));
}

DEVICE u32 pack_low_bytes(u32 low, u32 high) { return (low & 0xffu) | (high & 0xffu) << 8; }
DEVICE u32 pack_low_halves(u32 low, u32 high) { return (low & 0xffffu) | high << 16; }

DEVICE float as_float(u32 bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
DEVICE u32 as_bits(float value) {
    u32 bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

DEVICE float rsqrt_exact(float a) { return float(1.0 / host::sqrt_of(a)); }
DEVICE float reciprocal_exact(float a) { return 1.0f / a; }
DEVICE float divide_exact(float a, float b) { return a / b; }
DEVICE float max_number(float a, float b) { return __builtin_fmaxf(a, b); }
DEVICE u32 round_to_integer(float a) { return a != a ? 0 : u32(int(__builtin_nearbyintf(a))); }

DEVICE float f16_to_float(u32 low_half) { return host::f16_to_float(u16(low_half)); }
DEVICE u32 pack_f16(float low, float high) {
    return host::float_to_f16(low) | u32(host::float_to_f16(high)) << 16;
}
DEVICE u32 pack_bf16(float low, float high) {
    return host::float_to_bf16(low) | u32(host::float_to_bf16(high)) << 16;
}

DEVICE void forget(u32&) {}
DEVICE void forget(u64&) {}

DEVICE void load_any(void* to, u64 address, u32 bytes) {
    host::check_access(address, bytes, false);
    std::memcpy(to, reinterpret_cast<const void*>(address), bytes);
}
DEVICE u32 load_2(u64 address) {
    u16 half;
    load_any(&half, address, 2);
    return half;
}
DEVICE void load_4(u32* word, u64 address) { load_any(word, address, 4); }
DEVICE void load_8(u32* word, u64 address) { load_any(word, address, 8); }
DEVICE void load_16(u32* word, u64 address) { load_any(word, address, 16); }
DEVICE void load_2_if(bool when, u32& word, u64 address) {
    if (when) word = load_2(address);
}
DEVICE void load_4_if(bool when, u32* word, u64 address) {
    if (when) load_4(word, address);
}
DEVICE void load_8_if(bool when, u32* word, u64 address) {
    if (when) load_8(word, address);
}
DEVICE void load_16_if(bool when, u32* word, u64 address) {
    if (when) load_16(word, address);
}
DEVICE void store_any(u64 address, const void* from, u32 bytes) {
    host::check_access(address, bytes, true);
    std::memcpy(reinterpret_cast<void*>(address), from, bytes);
}
DEVICE void store_1(u64 address, u32 word) {
    const unsigned char byte = static_cast<unsigned char>(word);
    store_any(address, &byte, 1);
}
DEVICE void store_2(u64 address, u32 word) {
    const u16 half = u16(word);
    store_any(address, &half, 2);
}
DEVICE void store_4(u64 address, const u32* word) { store_any(address, word, 4); }
DEVICE void store_8(u64 address, const u32* word) { store_any(address, word, 8); }
DEVICE void store_16(u64 address, const u32* word) { store_any(address, word, 16); }
DEVICE void prefetch(u64 address) { host::check_access(address, 1, false); }

DEVICE float shuffle_xor(float value, u32 mask) { return host::shuffle_xor(value, mask); }
DEVICE bool any_in_warp(bool so) { return host::any_in_warp(so); }
DEVICE void block_barrier() { host::block_barrier(); }
DEVICE void wait_for_previous_grid() { host::wait_for_previous_grid(); }
DEVICE void allow_next_grid() {}
DEVICE u32 cluster_index() { return host::cluster_index(); }
DEVICE u32 cluster_rank() { return host::cluster_rank(); }
DEVICE void cluster_arrive() { host::cluster_arrive(); }
DEVICE void cluster_wait() { host::cluster_wait(); }
DEVICE float read_shared_of(const float* own, u32 rank) { return host::read_shared_of(own, rank); }
