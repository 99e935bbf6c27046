#include "frontend/driver/server/server_client.h"

#include <curl/curl.h>

#include <mutex>
#include <optional>

namespace exo {
namespace {

constexpr size_t kMaxBody = 64 << 20, kMaxLine = 16 << 20;

void startLibrary() {
  static std::once_flag once;
  std::call_once(once, [] { EXO_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) << "libcurl does not start"; });
}

/// {"error": "text"} as Ollama has it, {"error": {"message": "text"}} as the others; else the body itself.
std::string reasonIn(const std::string& body) {
  const auto json = ServerClient::Json::parse(body, nullptr, false);
  if (json.is_object() && json.contains("error")) {
    const auto& error = json["error"];
    if (error.is_string()) return error.get<std::string>();
    if (error.is_object() && error.contains("message") && error["message"].is_string()) return error["message"].get<std::string>();
  }
  return body.substr(0, 300);
}

Error refusal(long status, const std::string& body) {
  const ErrorCode code = status == 404 ? ErrorCode::kNotFound : status >= 400 && status < 500 ? ErrorCode::kInvalidInput : ErrorCode::kIo;
  return makeError(code, "the server refuses (", status, "): ", reasonIn(body));
}

}  // namespace

struct ServerClient::Handle {
  CURL* curl = nullptr;
  char message[CURL_ERROR_SIZE] = {};
  ~Handle() { curl_easy_cleanup(curl); }
};

/// What comes: whole, or line by line.
struct ServerClient::Transfer {
  const std::function<void(const Json&)>* on_line = nullptr;
  const std::atomic<bool>* cancel = nullptr;
  CURL* curl = nullptr;
  std::string body;              // whole, or the line that has not ended
  std::optional<Error> error;

  long status() const {
    long code = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    return code;
  }

  bool take(std::string_view bytes) {
    body += bytes;
    if (body.size() > (on_line ? kMaxLine : kMaxBody)) error = makeError(ErrorCode::kIo, "the server sends more than ", body.size(), " bytes in one piece");
    for (size_t end; !error && on_line && status() == 200 && (end = body.find('\n')) != std::string::npos; body.erase(0, end + 1)) line(body.substr(0, end));
    return !error;
  }

  void line(const std::string& text) {
    if (text.empty()) return;
    const Json json = Json::parse(text, nullptr, false);
    if (json.is_discarded()) error = makeError(ErrorCode::kIo, "the server sends what is no JSON: ", text.substr(0, 100));
    else if (json.is_object() && json.contains("error")) error = makeError(ErrorCode::kIo, "the server ends the answer: ", reasonIn(text));
    else (*on_line)(json);
  }
};

namespace {

template <class T>
size_t onBytes(char* data, size_t size, size_t count, void* transfer) {
  return static_cast<T*>(transfer)->take({data, size * count}) ? size * count : 0;
}
template <class T>
int onProgress(void* transfer, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto* cancel = static_cast<T*>(transfer)->cancel;
  return cancel && *cancel ? 1 : 0;
}

}  // namespace

Result<ServerClient> ServerClient::create(std::string url, std::string api_key) {
  while (url.ends_with('/')) url.pop_back();
  if (!url.starts_with("http://") && !url.starts_with("https://")) return invalid("--server: expected an address as http://127.0.0.1:52415, got \"", url, '"');
  return ServerClient(std::move(url), std::move(api_key));
}

ServerClient::ServerClient(std::string url, std::string api_key) : url_(std::move(url)), api_key_(std::move(api_key)), handle_(std::make_unique<Handle>()) {
  startLibrary();
  handle_->curl = curl_easy_init();
  EXO_CHECK(handle_->curl != nullptr) << "out of memory";
}
ServerClient::ServerClient(ServerClient&&) noexcept = default;
ServerClient::~ServerClient() = default;

Status ServerClient::perform(const std::string& path, const Json* body, Transfer& transfer) {
  CURL* curl = handle_->curl;
  transfer.curl = curl;
  handle_->message[0] = '\0';
  curl_easy_reset(curl);
  const std::string url = url_ + path, text = body ? body->dump(-1, ' ', false, Json::error_handler_t::replace) : "";
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, handle_->message);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, onBytes<Transfer>);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, onProgress<Transfer>);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(curl_slist_append(nullptr, "Content-Type: application/json"), curl_slist_free_all);
  if (!api_key_.empty()) curl_slist_append(headers.get(), ("Authorization: Bearer " + api_key_).c_str());
  curl_slist_append(headers.get(), "Expect:");
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  if (body) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(text.size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text.c_str());
  }
  const CURLcode code = curl_easy_perform(curl);
  if (transfer.error) return *std::move(transfer.error);
  if (code == CURLE_ABORTED_BY_CALLBACK) return makeError(ErrorCode::kCancelled, "interrupted");
  if (code == CURLE_COULDNT_CONNECT) return makeError(ErrorCode::kIo, "no server answers at ", url_, "; `exoc serve` starts one, --server names another");
  if (code != CURLE_OK) return makeError(ErrorCode::kIo, url_, ": ", handle_->message[0] ? handle_->message : curl_easy_strerror(code));
  if (transfer.status() < 200 || transfer.status() >= 300) return refusal(transfer.status(), transfer.body);
  return {};
}

Result<ServerClient::Json> ServerClient::ask(const std::string& path, const Json* body) {
  Transfer transfer;
  EXO_TRY(perform(path, body, transfer));
  Json json = Json::parse(transfer.body, nullptr, false);
  if (json.is_discarded()) return makeError(ErrorCode::kIo, url_, path, " answers with what is no JSON: ", transfer.body.substr(0, 100));
  return json;
}

Result<ServerClient::Json> ServerClient::get(const std::string& path) { return ask(path, nullptr); }

Result<ServerClient::Json> ServerClient::post(const std::string& path, const Json& body) { return ask(path, &body); }

Status ServerClient::stream(const std::string& path, const Json& body, const std::function<void(const Json&)>& on_line, const std::atomic<bool>& cancel) {
  Transfer transfer;
  transfer.on_line = &on_line;
  transfer.cancel = &cancel;
  return perform(path, &body, transfer);
}

}  // namespace exo
