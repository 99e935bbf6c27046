#include "executor/serve/completion.h"

namespace exo::serve {

const char* name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kStopString: return "stop string";
    case FinishReason::kLength: return "length";
    case FinishReason::kCancelled: return "cancelled";
    case FinishReason::kError: return "error";
  }
  return "unknown";
}

const char* name(EngineState state) {
  switch (state) {
    case EngineState::kLoading: return "loading";
    case EngineState::kServing: return "serving";
    case EngineState::kDraining: return "draining";
    case EngineState::kStopped: return "stopped";
    case EngineState::kFailed: return "failed";
  }
  return "unknown";
}

}  // namespace exo::serve
