#include "frontend/driver/desk/relay.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace exo {
namespace {

using serve::http::Exchange;
using serve::http::Headers;
using serve::http::Request;
using serve::http::Response;

// Of one connection, or said anew: of requests also what the desk has looked at already.
constexpr std::array kNotPassedOn = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "expect", "upgrade", "te", "trailer", "origin", "proxy-connection"};
constexpr std::array kNotPassedBack = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "x-request-id", "request-id"};

template <size_t N>
bool isOneOf(const std::array<const char*, N>& names, const std::string& name) {
  return std::any_of(names.begin(), names.end(), [&](const char* one) { return serve::http::equalsIgnoringCase(one, name); });
}

/// Paths come decoded.
std::string encodedPath(const std::string& path) {
  constexpr std::string_view kPlain = "/-._~!$&'()*+,;=:@";
  std::string text;
  for (const char c : path) {
    if (std::isalnum(static_cast<unsigned char>(c)) || kPlain.find(c) != std::string_view::npos) {
      text += c;
    } else {
      constexpr char kDigits[] = "0123456789ABCDEF";
      text += {'%', kDigits[static_cast<unsigned char>(c) >> 4], kDigits[static_cast<unsigned char>(c) & 15]};
    }
  }
  return text;
}

struct Transfer {
  CURL* curl = nullptr;
  curl_slist* headers = nullptr;
  std::string url, body;
  std::shared_ptr<Exchange> exchange;
  std::function<void()> done;
  std::function<Response(const std::string&)> failure;
  Headers added;
  Response head;
  bool begun = false, has_length = false;
  std::atomic<bool> gone = false;

  ~Transfer() {
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
  }

  long status() const {
    long code = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    return code;
  }

  void header(std::string line) {
    while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.pop_back();
    if (line.starts_with("HTTP/")) head.headers.clear();
    const size_t colon = line.find(':');
    if (colon == std::string::npos) return;
    const std::string name = line.substr(0, colon);
    const size_t begin = line.find_first_not_of(' ', colon + 1);
    has_length |= serve::http::equalsIgnoringCase(name, "content-length");
    if (!isOneOf(kNotPassedBack, name)) head.headers.push_back({name, begin == std::string::npos ? "" : line.substr(begin)});
  }

  void setHead() {
    head.status = static_cast<int>(status());
    head.headers.insert(head.headers.end(), added.begin(), added.end());
  }

  /// An answer of known length is passed on in one piece.
  bool take(const char* bytes, size_t size) {
    if (gone) return false;
    if (has_length) {
      head.body.append(bytes, size);
      return true;
    }
    if (!begun) {
      begun = true;
      setHead();
      exchange->begin(head, std::chrono::hours(1), [] { return std::string(); });   // the other server keeps it alive
    }
    exchange->write(std::string(bytes, size));
    return true;
  }

  void end(CURLcode code, const char* message) {
    if (code == CURLE_OK && !begun) {
      setHead();
      exchange->respond(std::move(head));
    } else if (code == CURLE_OK) {
      exchange->finish();
    } else if (!begun) {
      exchange->respond(failure(message[0] ? message : curl_easy_strerror(code)));
    }
    exchange.reset();   // one that was begun and is let go ends so that its client can tell
    done();
  }
};

size_t onHeader(char* data, size_t size, size_t count, void* transfer) {
  static_cast<Transfer*>(transfer)->header(std::string(data, size * count));
  return size * count;
}
size_t onBody(char* data, size_t size, size_t count, void* transfer) { return static_cast<Transfer*>(transfer)->take(data, size * count) ? size * count : 0; }

void prepare(Transfer& transfer, const Request& request) {
  CURL* curl = transfer.curl = curl_easy_init();
  EXO_CHECK(curl != nullptr) << "out of memory";
  for (const serve::http::Header& header : request.headers) {
    if (!isOneOf(kNotPassedOn, header.name)) transfer.headers = curl_slist_append(transfer.headers, (header.name + (header.value.empty() ? ";" : ": " + header.value)).c_str());
  }
  transfer.headers = curl_slist_append(transfer.headers, "Expect:");   // none of libcurl's own
  if (!request.header("User-Agent")) transfer.headers = curl_slist_append(transfer.headers, "User-Agent:");
  curl_easy_setopt(curl, CURLOPT_URL, transfer.url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, transfer.headers);
  if (request.method == "HEAD") curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  if (request.method == "POST" || request.method == "PUT" || !transfer.body.empty()) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(transfer.body.size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, transfer.body.data());
  }
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, onHeader);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, onBody);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
}

}  // namespace

class Relay::Impl {
 public:
  Impl() {
    static std::once_flag once;
    std::call_once(once, [] { EXO_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) << "libcurl does not start"; });
    multi_ = curl_multi_init();
    EXO_CHECK(multi_ != nullptr) << "out of memory";
    thread_ = std::thread([this] { run(); });
  }
  ~Impl() {
    ending_ = true;
    curl_multi_wakeup(multi_);
    thread_.join();
    curl_multi_cleanup(multi_);
  }

  void add(std::shared_ptr<Transfer> transfer) {
    transfer->exchange->onGone([this, weak = std::weak_ptr(transfer)] {
      const auto transfer = weak.lock();
      if (!transfer) return;
      transfer->gone = true;
      curl_multi_wakeup(multi_);
    });
    {
      const std::lock_guard lock(mutex_);
      arriving_.push_back(std::move(transfer));
    }
    curl_multi_wakeup(multi_);
  }

 private:
  void run() {
    while (!ending_) {
      takeArrivals();
      int running = 0;
      curl_multi_perform(multi_, &running);
      endFinished();
      endGone();
      curl_multi_poll(multi_, nullptr, 0, 1000, nullptr);
    }
    takeArrivals();
    while (!transfers_.empty()) end(transfers_.begin()->first, CURLE_ABORTED_BY_CALLBACK, "the server is stopping");
  }

  void takeArrivals() {
    std::vector<std::shared_ptr<Transfer>> arriving;
    {
      const std::lock_guard lock(mutex_);
      arriving.swap(arriving_);
    }
    for (auto& transfer : arriving) {
      curl_multi_add_handle(multi_, transfer->curl);
      transfers_.emplace(transfer->curl, std::move(transfer));
    }
  }

  void endFinished() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg == CURLMSG_DONE) end(message->easy_handle, message->data.result, "");
    }
  }

  void endGone() {
    std::vector<CURL*> gone;
    for (const auto& [curl, transfer] : transfers_) {
      if (transfer->gone) gone.push_back(curl);
    }
    for (CURL* curl : gone) end(curl, CURLE_ABORTED_BY_CALLBACK, "");
  }

  void end(CURL* curl, CURLcode code, const char* message) {
    const std::shared_ptr<Transfer> transfer = std::move(transfers_.extract(curl).mapped());
    curl_multi_remove_handle(multi_, curl);   // closes the connection of one that has not ended
    transfer->end(code, message);
  }

  CURLM* multi_ = nullptr;
  std::atomic<bool> ending_ = false;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Transfer>> arriving_;
  std::map<CURL*, std::shared_ptr<Transfer>> transfers_;   // the thread's
  std::thread thread_;
};

Relay::Relay() : impl_(std::make_unique<Impl>()) {}
Relay::~Relay() = default;

void Relay::start(const std::string& url, Request request, Headers added, std::shared_ptr<Exchange> exchange, std::function<void()> done,
                  std::function<Response(const std::string& why)> failure) {
  auto transfer = std::make_shared<Transfer>();
  transfer->url = url + encodedPath(request.path) + (request.query.empty() ? "" : "?" + request.query);
  transfer->body = std::move(request.body);
  transfer->exchange = std::move(exchange);
  transfer->done = std::move(done);
  transfer->failure = std::move(failure);
  transfer->added = std::move(added);
  prepare(*transfer, request);
  impl_->add(std::move(transfer));
}

}  // namespace exo
