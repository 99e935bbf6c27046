// HTTP GET over libcurl: TLS, proxies, redirects and content lengths are its business; bounds, retries and error texts ours.
// Threads: one client per thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "ir/base/result.h"

namespace exo::hub {

struct HttpOptions {
  std::string token;                                   // sent as a bearer to the first host, never to one it redirects to
  const std::atomic<bool>* cancel = nullptr;           // looked at about once a second and between tries
  int tries = 5;                                       // of a request that failed by no fault of ours: network, 408, 429, 5xx
  std::chrono::milliseconds first_pause{500};          // before the second try; doubled each time, or as Retry-After says, at most a minute
  std::chrono::seconds stalled{30};                    // without a byte: given up
};

struct HttpDocument {
  std::string body;
  std::map<std::string, std::string> headers;          // of the last response; names in lower case
};

/// Where the bytes of a download go.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  /// Where the next try goes on from.
  virtual uint64_t position() const = 0;
  /// The server sends from the first byte although another was asked for: forget what came.
  virtual Status restart() = 0;
  virtual Status write(std::span<const std::byte> bytes) = 0;
};

class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);
  ~HttpClient();

  /// A whole document of at most `max_bytes`. Errors: kNotFound (404); kInvalidInput (401, 403: says what about the token);
  /// kTimeout, kIo (network, other statuses, too large); kCancelled.
  Result<HttpDocument> get(const std::string& url, uint64_t max_bytes);

  /// Bytes [sink.position(), end) of a file of at least `end` bytes into `sink`; a try that breaks off is followed by one that goes
  /// on where it ended. Errors as get, and the sink's own.
  Status download(const std::string& url, uint64_t end, ByteSink& sink);

 private:
  struct Handle;
  struct Transfer;
  Status withRetries(const std::string& url, Transfer& transfer);
  Status once(const std::string& url, Transfer& transfer);
  bool pause(std::chrono::milliseconds duration) const;

  HttpOptions options_;
  std::unique_ptr<Handle> handle_;
};

}  // namespace exo::hub
