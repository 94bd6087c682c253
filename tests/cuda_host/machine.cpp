// Threads are fibres that run one at a time, from one barrier or shuffle to the next. Shared memory
// is filled with NaN before a block starts and after it ends, so that what is read too early or too
// late shows; a test runs every case in both orders for the same reason.
#include "machine.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace host {

// Of a device with everything, for programs that do not say what they want.
Settings settings = {13000, {9, 0}, 16, 0, 0, nullptr, 0};
std::vector<Range> ranges;

namespace {

constexpr u32 LANES = 32;
constexpr std::size_t STACK = 256 * 1024;
constexpr std::size_t SHARED_BYTES = 16384;

// Opens when `expected` have arrived.
struct Barrier {
    u32 expected = 0, arrived = 0;
    u64 generation = 0;

    u64 arrive() {
        const u64 before = generation;
        if (++arrived == expected) {
            arrived = 0;
            ++generation;
        }
        return before;
    }
};

struct Warp {
    Barrier barrier;
    float value[2][LANES];
    u32 mask[2][LANES];
};

struct Block {
    u32 index = 0, rank = 0, running = 0;
    Barrier barrier;
    std::vector<Warp> warps;
    std::vector<char> shared;
};

struct Fibre {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK]};
    void* fake_stack = nullptr;
    Block* block = nullptr;
    u32 index = 0, shuffles = 0;
    bool done = false, waited = false;
    const Barrier* at = nullptr; // the barrier that it waits at
    u64 generation = 0;
    u64 cluster_generation = 0;
};

struct Machine {
    ucontext_t scheduler;
    void* scheduler_fake_stack = nullptr;
    const void* scheduler_stack = nullptr;
    std::size_t scheduler_stack_size = 0;
    std::vector<std::unique_ptr<Fibre>> fibres;
    std::vector<Block> blocks;
    Barrier cluster;
    std::map<const void*, std::size_t> shared_offsets;
    std::size_t shared_used = 0;
    const Kernel* kernel = nullptr;
    const Work* bound = nullptr;
    Shape shape{};
    u32 cluster_index = 0;
    std::string fault;
};

Machine machine;
Fibre* self = nullptr;

void start_switch(void** save, const void* stack, std::size_t size) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(save, stack, size);
#else
    (void)save, (void)stack, (void)size;
#endif
}

void finish_switch(void* saved, const void** stack, std::size_t* size) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(saved, stack, size);
#else
    (void)saved, (void)stack, (void)size;
#endif
}

void leave(bool for_good) {
    Fibre* fibre = self;
    start_switch(for_good ? nullptr : &fibre->fake_stack, machine.scheduler_stack,
                 machine.scheduler_stack_size);
    swapcontext(&fibre->context, &machine.scheduler);
    finish_switch(fibre->fake_stack, &machine.scheduler_stack, &machine.scheduler_stack_size);
}

// Ends the launch: nothing runs on after a fault.
[[noreturn]] void fault(const std::string& what) {
    if (machine.fault.empty()) {
        machine.fault = std::string(machine.kernel->name) + ", block " +
                        std::to_string(self->block->index) + ", thread " +
                        std::to_string(self->index) + ": " + what;
    }
    leave(true);
    std::abort();
}

void wait_at(const Barrier& barrier, u64 generation) {
    self->at = &barrier;
    self->generation = generation;
    while (barrier.generation == generation) leave(false);
    self->at = nullptr;
}

void fill_with_nan(std::vector<char>& memory) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (std::size_t i = 0; i < memory.size(); i += sizeof nan) {
        std::memcpy(memory.data() + i, &nan, sizeof nan);
    }
}

void enter() {
    finish_switch(nullptr, &machine.scheduler_stack, &machine.scheduler_stack_size);
    (*machine.bound)();
    self->done = true;
    if (--self->block->running == 0) fill_with_nan(self->block->shared);
    leave(true);
}

void resume(Fibre& fibre) {
    self = &fibre;
    start_switch(&machine.scheduler_fake_stack, fibre.stack.get(), STACK);
    swapcontext(&machine.scheduler, &fibre.context);
    finish_switch(machine.scheduler_fake_stack, nullptr, nullptr);
}

bool can_run(const Fibre& fibre) {
    return !fibre.done && (!fibre.at || fibre.at->generation != fibre.generation);
}

void prepare_cluster(u32 cluster_index) {
    const Shape& shape = machine.shape;
    machine.cluster_index = cluster_index;
    machine.cluster = Barrier{shape.cluster * shape.block};
    machine.blocks.assign(shape.cluster, {});
    const std::size_t threads = std::size_t(shape.cluster) * shape.block;
    while (machine.fibres.size() < threads) machine.fibres.push_back(std::make_unique<Fibre>());
    for (std::size_t i = 0; i < threads; ++i) {
        const u32 rank = u32(i / shape.block), thread = u32(i % shape.block);
        Block& block = machine.blocks[rank];
        if (thread == 0) {
            block.index = cluster_index * shape.cluster + rank;
            block.rank = rank;
            block.running = shape.block;
            block.barrier.expected = shape.block;
            block.warps.resize(shape.block / LANES);
            for (Warp& warp : block.warps) warp.barrier.expected = LANES;
            block.shared.resize(SHARED_BYTES);
            fill_with_nan(block.shared);
        }
        Fibre& fibre = *machine.fibres[i];
        fibre.block = &block;
        fibre.index = thread;
        fibre.shuffles = 0;
        fibre.done = fibre.waited = false;
        fibre.at = nullptr;
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.get();
        fibre.context.uc_stack.ss_size = STACK;
        fibre.context.uc_link = nullptr;
        makecontext(&fibre.context, enter, 0);
    }
}

void run_cluster(u32 cluster_index) {
    prepare_cluster(cluster_index);
    const std::size_t threads = std::size_t(machine.shape.cluster) * machine.shape.block;
    // A warp runs on until all of its threads wait for other warps: what it overwrites too early is
    // overwritten before the others have read it.
    for (std::size_t idle = 0, at = 0; idle < threads; at = (at + LANES) % threads) {
        bool progress = false;
        for (u32 lane = 0; lane < LANES; ++lane) {
            Fibre& fibre = *machine.fibres[settings.reversed ? threads - 1 - at - lane : at + lane];
            if (!can_run(fibre)) continue;
            progress = true;
            resume(fibre);
            if (!machine.fault.empty()) return;
        }
        idle = progress ? 0 : idle + LANES;
        if (progress) at = (at + threads - LANES) % threads;
    }
    for (std::size_t i = 0; i < threads; ++i) {
        if (machine.fibres[i]->done) continue;
        machine.fault = std::string(machine.kernel->name) + ": thread " +
                        std::to_string(machine.fibres[i]->index) +
                        " waits for threads that never come";
        return;
    }
}

std::map<std::string, Kernel>& registry() {
    static std::map<std::string, Kernel> kernels;
    return kernels;
}

} // namespace

void add_kernel(const char* name, std::function<Work(void**)> bind, u32 max_threads) {
    registry()[name] = Kernel{name, std::move(bind), max_threads};
}

const Kernel* find_kernel(const std::string& name) {
    const auto found = registry().find(name);
    return found == registry().end() ? nullptr : &found->second;
}

std::string run(const Kernel& kernel, const Work& bound, const Shape& shape) {
    machine.kernel = &kernel;
    machine.bound = &bound;
    machine.shape = shape;
    machine.fault.clear();
    machine.shared_offsets.clear();
    machine.shared_used = 0;
    if (shape.block > kernel.max_threads || shape.block % LANES != 0) return "a block of wrong size";
    if (shape.grid % shape.cluster != 0) return "a grid of no whole number of clusters";
    const u32 clusters = shape.grid / shape.cluster;
    for (u32 i = 0; i < clusters && machine.fault.empty(); ++i) {
        run_cluster(settings.reversed ? clusters - 1 - i : i);
    }
    return machine.fault;
}

u32 thread_index() { return self->index; }
u32 block_index() { return self->block->index; }
u32 block_threads() { return machine.shape.block; }
u32 cluster_rank() { return self->block->rank; }
u32 cluster_index() { return machine.cluster_index; }

void* shared(const void* tag, std::size_t bytes) {
    if (machine.shared_offsets.count(tag) == 0) {
        machine.shared_offsets[tag] = machine.shared_used;
        machine.shared_used += (bytes + 15) / 16 * 16;
        if (machine.shared_used > SHARED_BYTES) fault("too much shared memory");
    }
    return self->block->shared.data() + machine.shared_offsets[tag];
}

float read_shared_of(const float* own, u32 rank) {
    if (rank >= machine.blocks.size()) fault("no such block in the cluster");
    const std::size_t offset = reinterpret_cast<const char*>(own) - self->block->shared.data();
    float value;
    std::memcpy(&value, machine.blocks[rank].shared.data() + offset, sizeof value);
    return value;
}

float shuffle_xor(float value, u32 mask) {
    Warp& warp = self->block->warps[self->index / LANES];
    const u32 lane = self->index % LANES, half = self->shuffles++ % 2;
    if (mask >= LANES) fault("a shuffle out of the warp");
    warp.value[half][lane] = value;
    warp.mask[half][lane] = mask;
    wait_at(warp.barrier, warp.barrier.arrive());
    if (warp.mask[half][lane ^ mask] != mask) fault("lanes shuffle with different masks");
    return warp.value[half][lane ^ mask];
}

bool any_in_warp(bool so) {
    // No mask of a shuffle.
    constexpr u32 VOTE = LANES;
    Warp& warp = self->block->warps[self->index / LANES];
    const u32 lane = self->index % LANES, half = self->shuffles++ % 2;
    warp.value[half][lane] = so;
    warp.mask[half][lane] = VOTE;
    wait_at(warp.barrier, warp.barrier.arrive());
    bool any = false;
    for (u32 other = 0; other < LANES; ++other) {
        if (warp.mask[half][other] != VOTE) fault("lanes vote while others shuffle");
        any |= warp.value[half][other] != 0.0f;
    }
    return any;
}

void block_barrier() { wait_at(self->block->barrier, self->block->barrier.arrive()); }

void cluster_arrive() { self->cluster_generation = machine.cluster.arrive(); }

void cluster_wait() { wait_at(machine.cluster, self->cluster_generation); }

void wait_for_previous_grid() { self->waited = true; }

void check_access(u64 address, u32 bytes, bool write) {
    if (address % bytes != 0) fault("an access of " + std::to_string(bytes) + " bytes is not aligned");
    for (const Range& range : ranges) {
        if (address < range.begin || address + bytes > range.end) continue;
        if (write && !range.writable) continue;
        if (!range.constant && !self->waited) fault("an access before the previous grid is waited for");
        return;
    }
    fault(std::string(write ? "a store" : "a load") + " of " + std::to_string(bytes) +
          " bytes outside of the tensors");
}

double approximate(double exact, double relative_error) {
    return exact * (1.0 + settings.error * relative_error);
}

float flushed(double value) {
    const bool subnormal = std::fabs(value) < std::numeric_limits<float>::min();
    return subnormal ? std::copysign(0.0f, float(value)) : float(value);
}

float exp2_of(float a) {
    float value = std::exp2(flushed(a));
    for (int ulp = 0; ulp < 2 && settings.error != 0 && std::isfinite(value); ++ulp) {
        value = std::nextafter(value, settings.error < 0 ? 0.0f : std::numeric_limits<float>::max());
    }
    return flushed(value);
}

double sqrt_of(double a) { return std::sqrt(a); }
double tanh_of(double a) { return std::tanh(a); }

float f16_to_float(u16 half) {
    const u32 sign = u32(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 31) return as_float(sign | 0x7f800000u | fraction << 13);
    const float magnitude = exponent == 0 ? std::ldexp(float(fraction), -24)
                                          : std::ldexp(float(fraction + 1024), int(exponent) - 25);
    return as_float(sign | as_bits(magnitude));
}

u16 float_to_f16(float value) {
    const u16 sign = u16(as_bits(value) >> 16 & 0x8000);
    if (std::isnan(value)) return 0x7fff;
    const float magnitude = std::fabs(value);
    if (magnitude >= 65520.0f) return u16(sign | 0x7c00);
    if (magnitude == 0.0f) return sign;
    // To a multiple of the result's unit, by the host's own rounding to nearest even.
    int exponent;
    std::frexp(magnitude, &exponent);
    const int unit = std::max(exponent - 11, -24);
    const u32 units = u32(std::nearbyint(std::ldexp(magnitude, -unit)));
    // A carry out of the fraction counts up the exponent, as it should.
    return u16(sign | (units + (unit == -24 ? 0 : u32(unit + 24) << 10)));
}

u16 float_to_bf16(float value) {
    if (std::isnan(value)) return 0x7fff;
    const u32 bits = as_bits(value);
    return u16((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

} // namespace host
