// How an emitter walks its work units: rows, or columns of all rows.
#include "codegen/emit.h"

namespace exo::codegen {

void Entry::eachPart(const program::Kernel& kernel, int64_t count, int64_t width, const std::function<void(Val part)>& body) {
  const int64_t parts = static_cast<int64_t>(kernel.grain()) / width;   // of a unit
  if (parts == 0) return each(i(0), i(count), 1, body);
  each(begin() * parts, minI(end() * parts, i(count)), 1, body);
}

void Entry::whenLast(const program::Kernel& kernel, int64_t count, const std::function<void()>& body) {
  if (kernel.grain() == 0) return body();
  when(i(count) <= end() * static_cast<int64_t>(kernel.grain()), body);
}

void Entry::eachColumn(const program::Kernel& kernel, int64_t count, const std::function<void(Val column, int lanes)>& body) {
  if (kernel.grain() == 0) return columns(count, body);
  const int64_t grain = static_cast<int64_t>(kernel.grain()), full = count / kLanes * kLanes;
  each(begin() * grain, minI(end() * grain, i(full)), kLanes, [&](Val column) { body(column, kLanes); });
  if (count % kLanes) whenLast(kernel, count, [&] { body(i(full), static_cast<int>(count % kLanes)); });
}

}  // namespace exo::codegen
