#include "executor/serve/dialects/reply.h"

#include <random>

namespace exo::serve {

std::string serverSentEvent(const std::string& data, const char* event) {
  return (event ? std::string("event: ") + event + "\n" : "") + "data: " + data + "\n\n";
}

std::string newId(const std::string& prefix) {
  static constexpr char kDigits[] = "0123456789abcdef";
  thread_local std::mt19937_64 random{std::random_device{}()};
  std::string id = prefix;
  for (int i = 0; i < 24; ++i) id += kDigits[random() % 16];
  return id;
}

int64_t unixSeconds() { return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace exo::serve
