#include "frontend/template/budget.h"

namespace exo::jinja {

bool Budget::spend(uint64_t count) {
  if (count > steps_) {
    steps_ = 0;
    exhausted_ = true;
    return false;
  }
  steps_ -= count;
  return true;
}

Status Budget::check() const {
  if (!exhausted_) return {};
  return makeError(ErrorCode::kDoesNotFit, "the template needs more than the ", total_, " steps a rendering may take");
}

Status Budget::allow(size_t bytes) {
  if (bytes > max_bytes_) {
    return makeError(ErrorCode::kDoesNotFit, "the template makes a text of ", bytes, " bytes; at most ", max_bytes_, " are allowed");
  }
  spendBytes(bytes);
  return check();
}

}  // namespace exo::jinja
