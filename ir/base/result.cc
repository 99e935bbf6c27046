#include "ir/base/result.h"

namespace exo {

const char* name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidInput: return "invalid input";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kNotFound: return "not found";
    case ErrorCode::kIo: return "input/output error";
    case ErrorCode::kDoesNotFit: return "does not fit";
    case ErrorCode::kTimeout: return "timeout";
    case ErrorCode::kPeerLost: return "peer lost";
    case ErrorCode::kCancelled: return "cancelled";
    case ErrorCode::kMismatch: return "mismatch";
  }
  return "unknown";
}

const char* name(ErrorScope scope) {
  switch (scope) {
    case ErrorScope::kRequest: return "request";
    case ErrorScope::kLink: return "link";
    case ErrorScope::kRank: return "rank";
    case ErrorScope::kJob: return "job";
  }
  return "unknown";
}

std::ostream& operator<<(std::ostream& out, const Error& error) { return out << name(error.code()) << ": " << error.message(); }

}  // namespace exo
