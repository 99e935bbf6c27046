#include "frontend/hub/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <thread>

#include "ir/base/version.h"

namespace exo::hub {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kLongestPause{60'000};
constexpr size_t kMaxErrorBytes = 4096;   // of a refusing server's explanation
constexpr size_t kMaxHeaderBytes = 64 << 10;

void startLibrary() {
  static std::once_flag once;
  std::call_once(once, [] { EXO_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) << "libcurl does not start"; });
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n"), end = text.find_last_not_of(" \t\r\n");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

/// What went wrong, and whether another try may help.
struct Failure {
  Error error;
  bool again = false;
};

}  // namespace

struct HttpClient::Handle {
  CURL* curl = nullptr;
  char message[CURL_ERROR_SIZE] = {};
};

/// One request: what is asked for, where its bytes go, and what came of the last try.
struct HttpClient::Transfer {
  ByteSink* sink = nullptr;
  std::optional<uint64_t> end;               // none: the whole document
  const std::atomic<bool>* cancel = nullptr;
  CURL* curl = nullptr;

  uint64_t begin = 0;
  bool begun = false;                        // bytes of a good answer have come
  size_t header_bytes = 0;
  std::map<std::string, std::string> headers;
  std::string refusal;                       // the body of a bad answer
  std::optional<Error> sink_error;

  long status() const {
    long code = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    return code;
  }

  size_t receive(std::span<const std::byte> bytes) {
    const long code = status();
    if (code >= 300) {
      refusal.append(reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), kMaxErrorBytes - std::min(kMaxErrorBytes, refusal.size())));
      return bytes.size();
    }
    Status written;
    if (!begun && begin > 0 && code == 200) written = sink->restart();
    begun = true;
    if (written.ok()) written = sink->write(bytes);
    if (written.ok()) return bytes.size();
    sink_error = std::move(written).error();
    return 0;
  }

  size_t header(std::string_view line) {
    header_bytes += line.size();
    if (header_bytes > kMaxHeaderBytes) return 0;
    if (line.starts_with("HTTP/")) headers.clear();   // of the response before a redirect
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos) headers[lower(std::string(line.substr(0, colon)))] = trimmed(std::string(line.substr(colon + 1)));
    return line.size();
  }
};

namespace {

template <class T>
size_t onBytes(char* data, size_t size, size_t count, void* transfer) {
  return static_cast<T*>(transfer)->receive(std::as_bytes(std::span(data, size * count)));
}
template <class T>
size_t onHeader(char* data, size_t size, size_t count, void* transfer) {
  return static_cast<T*>(transfer)->header(std::string_view(data, size * count));
}
template <class T>
int onProgress(void* transfer, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto* cancel = static_cast<T*>(transfer)->cancel;
  return cancel && *cancel ? 1 : 0;
}

/// Documents: everything into a string.
class StringSink : public ByteSink {
 public:
  explicit StringSink(uint64_t max_bytes) : max_bytes_(max_bytes) {}
  uint64_t position() const override { return 0; }
  Status restart() override {
    body_.clear();
    return {};
  }
  Status write(std::span<const std::byte> bytes) override {
    if (body_.size() + bytes.size() > max_bytes_) return makeError(ErrorCode::kIo, "expected at most ", max_bytes_, " bytes, got more");
    body_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }
  std::string take() { return std::move(body_); }

 private:
  uint64_t max_bytes_;
  std::string body_;
};

/// The status of an answer that is not what was asked for.
Failure refused(long status, const std::string& url, const std::string& body, bool has_token) {
  const std::string said = body.empty() ? "" : ": " + trimmed(body.substr(0, 300));
  if (status == 404) return {makeError(ErrorCode::kNotFound, url, ": not found", said)};
  if (status == 401 || status == 403) {
    const char* hint = has_token ? "the token (HF_TOKEN) does not open it; gated models want their licence accepted on their page first" : "it is private, gated or does not exist; set HF_TOKEN";
    return {invalid(url, ": access refused (", status, "); ", hint, said)};
  }
  return {makeError(ErrorCode::kIo, url, ": the server answers ", status, said), status == 408 || status == 429 || status >= 500};
}

Failure broken(CURLcode code, const char* message, const std::string& url) {
  const std::string text = message[0] != '\0' ? message : curl_easy_strerror(code);
  if (code == CURLE_ABORTED_BY_CALLBACK) return {makeError(ErrorCode::kCancelled, url, ": cancelled")};
  const bool final = code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT || code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_TOO_MANY_REDIRECTS;
  return {makeError(code == CURLE_OPERATION_TIMEDOUT ? ErrorCode::kTimeout : ErrorCode::kIo, url, ": ", text), !final};
}

/// Retry-After in seconds; a date there counts as none.
std::optional<milliseconds> retryAfter(const std::map<std::string, std::string>& headers) {
  const auto found = headers.find("retry-after");
  if (found == headers.end() || found->second.empty() || found->second.size() > 6 || found->second.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  return std::chrono::seconds(std::stol(found->second));
}

}  // namespace

HttpClient::HttpClient(HttpOptions options) : options_(std::move(options)), handle_(std::make_unique<Handle>()) {
  startLibrary();
  handle_->curl = curl_easy_init();
  EXO_CHECK(handle_->curl != nullptr) << "out of memory";
}

HttpClient::~HttpClient() { curl_easy_cleanup(handle_->curl); }

Result<HttpDocument> HttpClient::get(const std::string& url, uint64_t max_bytes) {
  StringSink sink(max_bytes);
  Transfer transfer;
  transfer.sink = &sink;
  EXO_TRY(withRetries(url, transfer));
  return HttpDocument{sink.take(), std::move(transfer.headers)};
}

Status HttpClient::download(const std::string& url, uint64_t end, ByteSink& sink) {
  if (sink.position() == end) return {};
  Transfer transfer;
  transfer.sink = &sink;
  transfer.end = end;
  return withRetries(url, transfer);
}

Status HttpClient::withRetries(const std::string& url, Transfer& transfer) {
  milliseconds next = options_.first_pause;
  for (int attempt = 1;; ++attempt) {
    const uint64_t before = transfer.sink->position();
    Status done = once(url, transfer);
    if (done.ok()) return done;
    const bool again = done.error().scope() == ErrorScope::kLink;   // once() says so
    if (transfer.end && transfer.sink->position() > before) {   // it goes on, however often it breaks off
      attempt = 1;
      next = options_.first_pause;
    }
    if (!again || attempt >= options_.tries) return makeError(done.error().code(), done.error().message());
    if (!pause(std::min(kLongestPause, retryAfter(transfer.headers).value_or(next)))) return makeError(ErrorCode::kCancelled, url, ": cancelled");
    next *= 2;
  }
}

Status HttpClient::once(const std::string& url, Transfer& transfer) {
  CURL* curl = handle_->curl;
  transfer.curl = curl;
  transfer.cancel = options_.cancel;
  transfer.begin = transfer.end ? transfer.sink->position() : 0;
  transfer.begun = false;
  transfer.header_bytes = 0;
  transfer.headers.clear();
  transfer.refusal.clear();
  if (!transfer.end) EXO_TRY(transfer.sink->restart());
  handle_->message[0] = '\0';
  curl_easy_reset(curl);
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, handle_->message);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, (std::string("exoc/") + kVersion).c_str());
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 15L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.stalled.count()));
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 8L);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, url.starts_with("https:") ? "https" : "http,https");
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, onProgress<Transfer>);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, onBytes<Transfer>);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, onHeader<Transfer>);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  if (!options_.token.empty()) {
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);   // libcurl keeps it from other hosts
    curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, options_.token.c_str());
  }
  const std::string range = transfer.end ? std::to_string(transfer.begin) + "-" + std::to_string(*transfer.end - 1) : "";
  if (transfer.end) curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());

  const CURLcode code = curl_easy_perform(curl);
  if (transfer.sink_error) return *std::exchange(transfer.sink_error, std::nullopt);
  std::optional<Failure> failure;
  if (code != CURLE_OK) {
    failure = broken(code, handle_->message, url);
  } else if (const long status = transfer.status(); status != 200 && status != 206) {
    failure = refused(status, url, transfer.refusal, !options_.token.empty());
  } else if (transfer.end && transfer.sink->position() < *transfer.end) {
    failure = Failure{makeError(ErrorCode::kIo, url, ": expected ", *transfer.end, " bytes, the answer ended after ", transfer.sink->position()), true};
  }
  if (!failure) return {};
  return Error(failure->error.code(), failure->error.message(), failure->again ? ErrorScope::kLink : ErrorScope::kRequest);
}

bool HttpClient::pause(milliseconds duration) const {
  const auto until = std::chrono::steady_clock::now() + duration;
  while (std::chrono::steady_clock::now() < until) {
    if (options_.cancel && *options_.cancel) return false;
    std::this_thread::sleep_for(std::min<milliseconds>(duration, milliseconds(50)));
  }
  return true;
}

}  // namespace exo::hub
