#include "bench/load/fetch.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

namespace exo::load {
namespace {

constexpr timeval kPatience{30, 0};

/// Closed with the object.
struct Socket {
  explicit Socket(int descriptor) : fd(descriptor) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (fd >= 0) ::close(fd);
  }
  const int fd;
};

std::string askOf(const Target& target, const std::string& request) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(target.host.c_str(), std::to_string(target.port).c_str(), &hints, &found) != 0) return "";
  const Socket socket(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ::setsockopt(socket.fd, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  const bool connected = ::connect(socket.fd, found->ai_addr, found->ai_addrlen) == 0;
  ::freeaddrinfo(found);
  if (!connected || ::send(socket.fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) return "";
  std::string answer;
  char buffer[16384];
  for (ssize_t count; (count = ::recv(socket.fd, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, static_cast<size_t>(count));
  return answer;
}

}  // namespace

Result<nlohmann::json> fetch(const Target& target, const std::string& path, const std::string& body) {
  const std::string host = target.host.find(':') == std::string::npos ? target.host : "[" + target.host + "]";
  const std::string answer = askOf(target, (body.empty() ? "GET " : "POST ") + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nContent-Length: " +
                                                  std::to_string(body.size()) + "\r\n\r\n" + body);
  const size_t end = answer.find("\r\n\r\n");
  if (end == std::string::npos) return makeError(ErrorCode::kPeerLost, "no answer from ", host, ":", target.port, path);
  const std::string status = answer.substr(9, 3);
  if (status != "200") return makeError(ErrorCode::kMismatch, path, " answers with status ", status, ": ", answer.substr(end + 4, 300));
  nlohmann::json json = nlohmann::json::parse(answer.substr(end + 4), nullptr, false);
  if (json.is_discarded()) return makeError(ErrorCode::kMismatch, path, " does not answer with JSON");
  return json;
}

Result<std::string> modelOf(const Target& target) {
  EXO_ASSIGN(const nlohmann::json list, fetch(target, "/v1/models"));
  const nlohmann::json::json_pointer place("/data/0/id");
  if (!list.contains(place) || !list.at(place).is_string()) return makeError(ErrorCode::kMismatch, "/v1/models names no model");
  return list.at(place).get<std::string>();
}

}  // namespace exo::load
