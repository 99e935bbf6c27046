// A running server, asked over HTTP: exoc serve, exo-exec, or another that speaks Ollama's protocol.
// Threads: one client per thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "ir/base/result.h"

namespace exo {

class ServerClient {
 public:
  using Json = nlohmann::ordered_json;

  /// `url`: "http://127.0.0.1:52415", with or without a slash at the end; `api_key` may be empty. Error kInvalidInput: not an http(s) address.
  static Result<ServerClient> create(std::string url, std::string api_key);
  ServerClient(ServerClient&&) noexcept;
  ~ServerClient();

  // Errors: kIo where nobody answers, or the server failed; kNotFound (404), kInvalidInput (other refusals) in the server's words.
  Result<Json> get(const std::string& path);
  Result<Json> post(const std::string& path, const Json& body);
  /// A body of lines of JSON, each told as it comes. kCancelled soon after `cancel` turns true: the server hears that we are gone.
  Status stream(const std::string& path, const Json& body, const std::function<void(const Json& line)>& on_line, const std::atomic<bool>& cancel);

  const std::string& url() const { return url_; }

 private:
  struct Transfer;
  ServerClient(std::string url, std::string api_key);
  Status perform(const std::string& path, const Json* body, Transfer& transfer);
  Result<Json> ask(const std::string& path, const Json* body);

  std::string url_, api_key_;
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

}  // namespace exo
