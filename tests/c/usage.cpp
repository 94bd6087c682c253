// The header in C++17: included twice, its types, and calls from std::thread.
#include "check.h"
#include "dynorm.h"

#include <cmath>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

static_assert(std::is_standard_layout_v<dynorm_forward_args>);
static_assert(std::is_trivially_copyable_v<dynorm_forward_args>);
static_assert(std::is_same_v<std::underlying_type_t<dynorm_element>, std::uint32_t>);

int main() {
  constexpr std::size_t rows = 7, channels = 513, threads = 4;
  const std::vector<float> x(rows * channels, 3.0f), weight(channels, 0.5f);
  std::vector<float> y(rows * channels);

  dynorm_forward_args args{};
  args.size = sizeof args;
  args.norm = dynorm_rms_norm(0.0f);
  args.rows = rows;
  args.channels = channels;
  args.x = x.data();
  args.y = y.data();
  args.weight = weight.data();
  args.x_element = args.y_element = args.weight_element = DYNORM_F32;
  args.flags = DYNORM_FLAG_NO_STREAM | DYNORM_FLAG_FAST_TANH;
  CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
  for (float value : y) {
    CHECK(std::fabs(value - 0.5f) < 1e-6f);
  }

  args.norm = dynorm_dyt(2.0f);
  std::vector<std::thread> team;
  for (std::size_t index = 0; index < threads; index++) {
    team.emplace_back([&args, index] {
      CHECK_STATUS(dynorm_forward_part(&args, index, threads), DYNORM_OK);
    });
  }
  for (std::thread &thread : team) {
    thread.join();
  }
  for (float value : y) {
    CHECK(std::fabs(value - 0.5f * std::tanh(6.0f)) < 1e-6f);
  }

  args.norm.function = static_cast<dynorm_function>(1234);
  CHECK_STATUS(dynorm_forward(&args), DYNORM_ERROR_VALUE);
  CHECK(std::string(dynorm_last_error()) == "args.norm.function is 1234, which is no dynorm_function");
  return 0;
}
