// What tests/cuda_device.rs and benches/cuda.rs call of the driver besides the crate's own calls:
// memory, streams that do at once what is put on them, graphs that remember it, and events. With
// it these programs can be tried without a device:
//
//     LD_LIBRARY_PATH=(folder of the library) DYNORM_TEST_SMALL=1 cargo test --test cuda_device
#include "machine.h"

#include "recorder.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

namespace host {

bool recording = false;
std::vector<std::function<void()>> recorded;

} // namespace host

namespace {

using Graph = std::vector<std::function<void()>>;
using Clock = std::chrono::steady_clock;

constexpr int SUCCESS = 0;
constexpr u64 ALIGNMENT = 256;

int stream;

int now_or_later(std::function<void()> work) {
    if (host::recording) host::recorded.push_back(std::move(work));
    else work();
    return SUCCESS;
}

} // namespace

#define ENTRY(name, ...)                                                                           \
    extern "C" int name(__VA_ARGS__);                                                              \
    extern "C" int name(__VA_ARGS__)

ENTRY(cuCtxSetCurrent, void* context) {
    extern void host_make_current(void*) __asm__("host_make_current");
    host_make_current(context);
    return SUCCESS;
}
ENTRY(cuMemAlloc_v2, u64* address, std::size_t bytes) {
    void* const memory = std::aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    *address = reinterpret_cast<u64>(memory);
    host::ranges.push_back({*address, *address + bytes, 1, 1, 0});
    return SUCCESS;
}
ENTRY(cuMemFree_v2, u64 address) {
    const auto is_it = [=](const host::Range& range) { return range.begin == address; };
    host::ranges.erase(std::find_if(host::ranges.begin(), host::ranges.end(), is_it));
    std::free(reinterpret_cast<void*>(address));
    return SUCCESS;
}
ENTRY(cuMemcpyHtoD_v2, u64 to, const void* from, std::size_t bytes) {
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return SUCCESS;
}
ENTRY(cuMemcpyDtoH_v2, void* to, u64 from, std::size_t bytes) {
    std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return SUCCESS;
}
ENTRY(cuMemsetD8_v2, u64 to, unsigned char byte, std::size_t bytes) {
    std::memset(reinterpret_cast<void*>(to), byte, bytes);
    return SUCCESS;
}
ENTRY(cuMemcpyDtoDAsync_v2, u64 to, u64 from, std::size_t bytes, void*) {
    return now_or_later([=] {
        std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    });
}
ENTRY(cuMemGetInfo_v2, std::size_t* free, std::size_t* total) {
    *free = *total = 1 << 30;
    return SUCCESS;
}
ENTRY(cuStreamCreate, void** created, u32) {
    *created = &stream;
    return SUCCESS;
}
ENTRY(cuStreamDestroy_v2, void*) { return SUCCESS; }
ENTRY(cuStreamSynchronize, void*) { return SUCCESS; }
ENTRY(cuStreamBeginCapture_v2, void*, int) {
    host::recorded.clear();
    host::recording = true;
    return SUCCESS;
}
ENTRY(cuStreamEndCapture, void*, Graph** graph) {
    host::recording = false;
    *graph = new Graph(std::move(host::recorded));
    return SUCCESS;
}
ENTRY(cuGraphInstantiateWithFlags, Graph** executable, const Graph* graph, u64) {
    *executable = new Graph(*graph);
    return SUCCESS;
}
ENTRY(cuGraphLaunch, const Graph* graph, void*) {
    for (const auto& work : *graph) work();
    return SUCCESS;
}
ENTRY(cuGraphExecDestroy, Graph* graph) {
    delete graph;
    return SUCCESS;
}
ENTRY(cuGraphDestroy, Graph* graph) {
    delete graph;
    return SUCCESS;
}
ENTRY(cuEventCreate, Clock::time_point** event, u32) {
    *event = new Clock::time_point;
    return SUCCESS;
}
ENTRY(cuEventDestroy_v2, Clock::time_point* event) {
    delete event;
    return SUCCESS;
}
ENTRY(cuEventRecord, Clock::time_point* event, void*) {
    *event = Clock::now();
    return SUCCESS;
}
ENTRY(cuEventSynchronize, Clock::time_point*) { return SUCCESS; }
ENTRY(cuEventElapsedTime_v2, float* milliseconds, const Clock::time_point* start, const Clock::time_point* end) {
    *milliseconds = std::chrono::duration<float, std::milli>(*end - *start).count();
    return SUCCESS;
}
// For kernels that do nothing.
ENTRY(cuModuleLoadData, void** module, const void*) {
    *module = &stream;
    return SUCCESS;
}
ENTRY(cuLaunchKernel, const void*, u32, u32, u32, u32, u32, u32, u32, void*, void**, void**) {
    return SUCCESS;
}
