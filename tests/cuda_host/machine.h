// A device of the host's own: runs a kernel with as many threads, blocks and clusters as asked.
#pragma once

#include "device.h"

#include <string>
#include <vector>

namespace host {

// What a test asks for; tests/cuda_host/emulator.rs has the same struct.
struct Settings {
    int driver_version;    // 1000 major + 10 minor
    int capability[2];
    int max_cluster;       // blocks
    int reversed;          // whether threads, blocks and clusters run last to first
    int error;             // of approximate functions: -1 low, 0 none, 1 high
    const char* failing;   // the driver function that fails, or null
    int failing_code;
};

// Memory that kernels may use. Only what is `constant` may be read before the previous grid is
// waited for. What is `foreign` belongs to another context.
struct Range {
    u64 begin, end;
    int writable, constant, foreign;
};

struct Shape {
    u32 grid, block, cluster;
};

struct Kernel {
    const char* name;
    std::function<Work(void**)> bind; // to the addresses of its arguments
    u32 max_threads;
};

extern Settings settings;
extern std::vector<Range> ranges;

// The registered kernel, or null.
const Kernel* find_kernel(const std::string& name);
// Runs all of a grid; gives what went wrong, or nothing.
std::string run(const Kernel& kernel, const Work& bound, const Shape& shape);

} // namespace host
