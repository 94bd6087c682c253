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

namespace {

using Graph = std::vector<host::Work>;
using Clock = std::chrono::steady_clock;

constexpr int SUCCESS = 0;
constexpr u64 ALIGNMENT = 256;

} // namespace

ENTRY(cuCtxSetCurrent, void* context) {
    extern void host_make_current(void*) __asm__("host_make_current");
    host_make_current(context);
    return SUCCESS;
}
ENTRY(cuMemAlloc_v2, u64* address, std::size_t bytes) {
    ONE_AT_A_TIME;
    void* const memory = std::aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    *address = reinterpret_cast<u64>(memory);
    host::ranges.push_back({*address, *address + bytes, 1, 1, 0});
    return SUCCESS;
}
ENTRY(cuMemFree_v2, u64 address) {
    ONE_AT_A_TIME;
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
ENTRY(cuMemcpyDtoDAsync_v2, u64 to, u64 from, std::size_t bytes, host::Stream* stream) {
    ONE_AT_A_TIME;
    stream->put([=] {
        std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    });
    return SUCCESS;
}
ENTRY(cuMemGetInfo_v2, std::size_t* free, std::size_t* total) {
    *free = *total = 1 << 30;
    return SUCCESS;
}
ENTRY(cuStreamCreate, host::Stream** stream, u32) {
    *stream = new host::Stream;
    return SUCCESS;
}
ENTRY(cuStreamDestroy_v2, host::Stream* stream) {
    delete stream;
    return SUCCESS;
}
ENTRY(cuStreamSynchronize, host::Stream*) { return SUCCESS; }
ENTRY(cuStreamBeginCapture_v2, host::Stream* stream, int) {
    stream->recording = true;
    return SUCCESS;
}
ENTRY(cuStreamEndCapture, host::Stream* stream, Graph** graph) {
    stream->recording = false;
    *graph = new Graph(std::move(stream->recorded));
    stream->recorded.clear();
    return SUCCESS;
}
ENTRY(cuGraphInstantiateWithFlags, Graph** executable, const Graph* graph, u64) {
    *executable = new Graph(*graph);
    return SUCCESS;
}
ENTRY(cuGraphLaunch, const Graph* graph, host::Stream*) {
    ONE_AT_A_TIME;
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
ENTRY(cuEventElapsedTime, float* milliseconds, const Clock::time_point* start, const Clock::time_point* end) {
    *milliseconds = std::chrono::duration<float, std::milli>(*end - *start).count();
    return SUCCESS;
}
