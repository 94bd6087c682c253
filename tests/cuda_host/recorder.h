// What the driver's functions share: callers are let in one at a time, and each stream remembers
// what is put on it while it is captured.
#pragma once

#include "device.h"

#include <mutex>
#include <vector>

namespace host {

extern std::mutex lock;

struct Stream {
    bool recording = false;
    std::vector<Work> recorded;

    // Does it now, or remembers it.
    void put(Work work) {
        if (recording) recorded.push_back(std::move(work));
        else work();
    }
};

} // namespace host

#define ENTRY(name, ...)                                                                           \
    extern "C" int name(__VA_ARGS__);                                                              \
    extern "C" int name(__VA_ARGS__)
#define ONE_AT_A_TIME const std::lock_guard<std::mutex> guard(host::lock)
