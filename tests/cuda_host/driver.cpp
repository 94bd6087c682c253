// The functions of the CUDA driver that dynorm calls, over the host's own machine: built as a
// library with the driver's name, it is what the crate loads. Handles are addresses of objects
// here; device memory is host memory. device_driver.cpp has what the tests for devices call besides.
#include "machine.h"

#include "recorder.h"

#include <cstdint>

namespace {

enum Code {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    INVALID_PTX = 218,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
};

constexpr int L2_BYTES = 38, MAJOR = 75, MINOR = 76, PAGEABLE = 88;
constexpr int ERROR_LOG_BUFFER = 5;
constexpr u32 CONTEXT = 1, MEMORY_TYPE = 2;
constexpr u32 CLUSTER_DIMENSION = 4, PROGRAMMATIC = 6;

struct Module {
    std::string ptx;
};

struct Attribute {
    u32 id;
    char pad[4];
    union {
        char bytes[64];
        u32 cluster[3];
        int programmatic;
    };
};

struct LaunchConfig {
    u32 grid[3], block[3], shared;
    host::Stream* stream;
    Attribute* attributes;
    u32 count;
};

// Counts of what a test looks at; tests/cuda_host/emulator.rs has the same struct.
struct Counts {
    u64 launches, programmatic, modules, retained;
    u32 grid, block, cluster;
    char kernel[64];
};

std::string last_fault;
Counts counts;
int primary; // its address is the primary context
thread_local std::vector<void*> contexts;

bool fails(const char* call) { return host::settings.failing && call == std::string(host::settings.failing); }

int load(Module** module, const char* ptx) {
    *module = new Module{ptx};
    const std::string target = ".target sm_";
    const std::size_t at = (*module)->ptx.find(target);
    if (at == std::string::npos) return INVALID_PTX;
    const int architecture = std::atoi((*module)->ptx.c_str() + at + target.size());
    if (architecture > 10 * host::settings.capability[0] + host::settings.capability[1]) return INVALID_PTX;
    ++counts.modules;
    return SUCCESS;
}

int launch(const host::Kernel& kernel, const host::Shape& shape, host::Stream* stream, void** arguments) {
    if (contexts.empty() || contexts.back() != &primary) return INVALID_HANDLE;
    ++counts.launches;
    counts.grid = shape.grid;
    counts.block = shape.block;
    counts.cluster = shape.cluster;
    std::strncpy(counts.kernel, kernel.name, sizeof counts.kernel - 1);
    const auto run = [=, &kernel, bound = kernel.bind(arguments)] { last_fault = host::run(kernel, bound, shape); };
    if (stream && stream->recording) {
        // There is nobody to tell.
        stream->put([=] {
            run();
            if (!last_fault.empty()) std::abort();
        });
        return SUCCESS;
    }
    run();
    return last_fault.empty() ? SUCCESS : LAUNCH_FAILED;
}

// What a launch costs by itself.
const host::Registered empty("empty", +[] {}, 32);

} // namespace

std::mutex host::lock;

#define MAY_FAIL(name)                                                                             \
    if (fails(name)) return host::settings.failing_code

// For tests.
extern "C" void host_configure(const host::Settings* settings) {
    host::settings = *settings;
    counts = {};
    last_fault.clear();
}
extern "C" void host_ranges(const host::Range* ranges, u64 count) {
    host::ranges.assign(ranges, ranges + count);
}
extern "C" const char* host_fault() { return last_fault.c_str(); }
extern "C" const Counts* host_counts() { return &counts; }
extern "C" void host_make_current(void* context) {
    contexts.clear();
    if (context) contexts.push_back(context);
}
extern "C" u64 host_contexts() { return contexts.size(); }

ENTRY(cuInit, u32) {
    MAY_FAIL("cuInit");
    return SUCCESS;
}
ENTRY(cuDriverGetVersion, int* version) {
    *version = host::settings.driver_version;
    return SUCCESS;
}
ENTRY(cuDeviceGetCount, int* count) {
    *count = 1;
    return SUCCESS;
}
ENTRY(cuDeviceGet, int* device, int ordinal) {
    MAY_FAIL("cuDeviceGet");
    *device = 0;
    return ordinal == 0 ? SUCCESS : INVALID_VALUE;
}
ENTRY(cuDeviceGetName, char* name, int bytes, int) {
    std::strncpy(name, "host", bytes);
    return SUCCESS;
}
ENTRY(cuDeviceGetAttribute, int* value, int attribute, int) {
    MAY_FAIL("cuDeviceGetAttribute");
    switch (attribute) {
    case MAJOR: *value = host::settings.capability[0]; return SUCCESS;
    case MINOR: *value = host::settings.capability[1]; return SUCCESS;
    case PAGEABLE: *value = 0; return SUCCESS;
    case L2_BYTES: *value = 1 << 16; return SUCCESS;
    default: return INVALID_VALUE;
    }
}
ENTRY(cuCtxGetCurrent, void** context) {
    *context = contexts.empty() ? nullptr : contexts.back();
    return SUCCESS;
}
ENTRY(cuCtxPushCurrent_v2, void* context) {
    contexts.push_back(context);
    return SUCCESS;
}
ENTRY(cuCtxPopCurrent_v2, void** context) {
    if (contexts.empty()) return INVALID_VALUE;
    *context = contexts.back();
    contexts.pop_back();
    return SUCCESS;
}
ENTRY(cuCtxGetDevice, int* device) {
    *device = 0;
    return contexts.empty() ? INVALID_VALUE : SUCCESS;
}
ENTRY(cuDevicePrimaryCtxRetain, void** context, int) {
    ONE_AT_A_TIME;
    MAY_FAIL("cuDevicePrimaryCtxRetain");
    ++counts.retained;
    *context = &primary;
    return SUCCESS;
}
ENTRY(cuDevicePrimaryCtxRelease_v2, int) {
    ONE_AT_A_TIME;
    --counts.retained;
    return SUCCESS;
}
ENTRY(cuModuleLoadDataEx, Module** module, const char* image, u32 count, const int* options, void** values) {
    ONE_AT_A_TIME;
    if (contexts.empty()) return INVALID_HANDLE;
    if (fails("cuModuleLoadDataEx")) {
        for (u32 i = 0; i < count; ++i) {
            if (options[i] == ERROR_LOG_BUFFER) std::strcpy(static_cast<char*>(values[i]), "what ptxas says\n");
        }
        return host::settings.failing_code;
    }
    return load(module, image);
}
ENTRY(cuModuleLoadData, Module** module, const char* image) {
    ONE_AT_A_TIME;
    return load(module, image);
}
ENTRY(cuModuleGetFunction, const host::Kernel** kernel, const Module* module, const char* name) {
    MAY_FAIL("cuModuleGetFunction");
    *kernel = host::find_kernel(name);
    const bool compiled = module->ptx.find(std::string(".entry ") + name + "(") != std::string::npos;
    return *kernel && compiled ? SUCCESS : NOT_FOUND;
}
ENTRY(cuModuleUnload, Module* module) {
    ONE_AT_A_TIME;
    --counts.modules;
    delete module;
    return SUCCESS;
}
ENTRY(cuFuncSetAttribute, const host::Kernel*, int, int) { return SUCCESS; }
ENTRY(cuOccupancyMaxPotentialClusterSize, int* size, const host::Kernel*, const LaunchConfig*) {
    *size = host::settings.max_cluster;
    return SUCCESS;
}
ENTRY(cuPointerGetAttributes, u32 count, const u32* attributes, void** values, u64 address) {
    ONE_AT_A_TIME;
    const host::Range* found = nullptr;
    for (const host::Range& range : host::ranges) {
        if (address >= range.begin && address < range.end) found = &range;
    }
    for (u32 i = 0; i < count; ++i) {
        if (attributes[i] == MEMORY_TYPE) {
            const u32 device_memory = 2;
            *static_cast<u32*>(values[i]) = found ? device_memory : 0;
        }
        if (attributes[i] == CONTEXT) {
            void* const owner = !found ? nullptr : found->foreign ? static_cast<void*>(&counts) : &primary;
            *static_cast<void**>(values[i]) = owner;
        }
    }
    return SUCCESS;
}
ENTRY(cuLaunchKernelEx, const LaunchConfig* config, const host::Kernel* kernel, void** parameters, void**) {
    ONE_AT_A_TIME;
    MAY_FAIL("cuLaunchKernelEx");
    host::Shape shape{config->grid[0], config->block[0], 1};
    for (u32 i = 0; i < config->count; ++i) {
        const Attribute& attribute = config->attributes[i];
        if (attribute.id == CLUSTER_DIMENSION) shape.cluster = attribute.cluster[0];
        if (attribute.id == PROGRAMMATIC) counts.programmatic += attribute.programmatic;
    }
    return launch(*kernel, shape, config->stream, parameters);
}
ENTRY(cuLaunchKernel, const host::Kernel* kernel, u32 grid, u32, u32, u32 block, u32, u32, u32, host::Stream* stream,
      void** parameters, void**) {
    ONE_AT_A_TIME;
    return launch(*kernel, host::Shape{grid, block, 1}, stream, parameters);
}
ENTRY(cuGetErrorName, int code, const char** name) {
    *name = code == LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED"
            : code == INVALID_PTX ? "CUDA_ERROR_INVALID_PTX"
                                  : "CUDA_ERROR_OTHER";
    return SUCCESS;
}
