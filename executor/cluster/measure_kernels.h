// The inner loops of measure.cc, each for the best instruction set of this processor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace exo::cluster {

/// Reads [data, data + bytes) once as several streams side by side, as a decode kernel reads its panels; `bytes` is a multiple
/// of 16 KiB. Returns a number that depends on every byte.
uint64_t readOnce(const std::byte* data, size_t bytes);

/// An arithmetic loop and what one iteration of it does.
struct ArithmeticLoop {
  void (*run)(int64_t iterations, void* result);  // `result`: 64 bytes, so that nothing is optimised away
  double operations_per_iteration;
  const char* method;
};
ArithmeticLoop int8Loop();
ArithmeticLoop f32Loop();

}  // namespace exo::cluster
