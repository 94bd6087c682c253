// What is put on a stream while it is captured.
#pragma once

#include <functional>
#include <vector>

namespace host {

extern bool recording;
extern std::vector<std::function<void()>> recorded;

} // namespace host
