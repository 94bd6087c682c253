// The functions that are installed for other kernels, by themselves.
#include "dynorm/functions.cuh"

#include <cstddef>

namespace {

template <class Function>
void apply(const Function& function, const float* x, float* y, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) y[i] = function(x[i]);
}

} // namespace

extern "C" void host_dyt(const float* parameter, const float* x, float* y, std::size_t count) {
    apply(dynorm::DyT(parameter[0]), x, y, count);
}
extern "C" void host_dyisru(const float* parameter, const float* x, float* y, std::size_t count) {
    apply(dynorm::DyIsru(parameter[0], parameter[1]), x, y, count);
}
extern "C" void host_derf(const float* parameter, const float* x, float* y, std::size_t count) {
    apply(dynorm::Derf(parameter[0], parameter[1]), x, y, count);
}
extern "C" void host_dyt_short(const float* parameter, const float* x, float* y, std::size_t count) {
    apply(dynorm::DyTShort(parameter[0]), x, y, count);
}
extern "C" void host_dyisru_short(const float* parameter, const float* x, float* y,
                                  std::size_t count) {
    apply(dynorm::DyIsruShort(parameter[0], parameter[1]), x, y, count);
}
extern "C" void host_derf_short(const float* parameter, const float* x, float* y, std::size_t count) {
    apply(dynorm::DerfShort(parameter[0], parameter[1]), x, y, count);
}
extern "C" void host_silu_short(const float*, const float* x, float* y, std::size_t count) {
    apply(dynorm::silu_short, x, y, count);
}
extern "C" void host_silu(const float*, const float* x, float* y, std::size_t count) {
    apply(dynorm::silu, x, y, count);
}
