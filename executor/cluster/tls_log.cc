#include "executor/cluster/tls_log.h"

#include <glog/logging.h>
#include <grpc/support/log.h>

#include <atomic>
#include <chrono>
#include <mutex>

namespace exo::cluster {
namespace {

std::atomic<uint64_t> strangers = 0;
std::atomic<int64_t> last_warning_s = -1'000'000;

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// At most one line in two seconds: a stranger that retries must not fill the disk.
bool mayWarn() {
  const int64_t now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
  int64_t last = last_warning_s;
  return now - last >= 2 && last_warning_s.compare_exchange_strong(last, now);
}

void onGrpcLog(gpr_log_func_args* line) {
  const std::string_view message = line->message;
  if (has(message, "Handshake failed")) {
    ++strangers;
    const std::string why = explainTls(message);
    if (mayWarn()) LOG(WARNING) << "a connection was refused: " << (why.empty() ? std::string(message) : why);
    return;
  }
  VLOG(1) << "grpc: " << message;
}

}  // namespace

void captureGrpcLog() {
  static std::once_flag once;
  std::call_once(once, [] { gpr_set_log_function(onGrpcLog); });
}

uint64_t strangersRefused() { return strangers; }

std::string explainTls(std::string_view message) {
  for (const char* foreign : {"certificate verify failed", "CERTIFICATE_VERIFY_FAILED", "alert unknown ca", "alert decrypt error",
                              "alert bad certificate", "alert certificate unknown"}) {
    if (has(message, foreign)) return "the other node has another cluster secret";
  }
  for (const char* plain : {"wrong version number", "http request", "packet length too long", "unsupported protocol"}) {
    if (has(message, plain)) return "the other node has no cluster secret (it does not speak TLS)";
  }
  if (has(message, "peer did not return a certificate")) return "the other side showed no certificate: it has no cluster secret";
  return "";
}

}  // namespace exo::cluster
