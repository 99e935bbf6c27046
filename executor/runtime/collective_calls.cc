#include "executor/runtime/collective_calls.h"

namespace exo::runtime {

class CollectiveCalls::Implementation {};

CollectiveCalls::CollectiveCalls(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
CollectiveCalls::~CollectiveCalls() = default;

Result<std::unique_ptr<CollectiveCalls>> CollectiveCalls::create(const program::Program&, transport::Mesh*, std::chrono::milliseconds) {
  return std::unique_ptr<CollectiveCalls>(new CollectiveCalls(std::make_unique<Implementation>()));
}

Result<int> CollectiveCalls::add(const program::Call& call, const codegen::KernelArgs&) {
  return makeError(ErrorCode::kUnsupported, "call \"", call.name(), "\": collectives are not connected yet");
}

Status CollectiveCalls::run(int index, int64_t) { return makeError(ErrorCode::kUnsupported, "collective ", index); }

}  // namespace exo::runtime
