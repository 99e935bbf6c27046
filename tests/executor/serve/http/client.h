// A client that does exactly what a test says: bytes to the server, bytes from it, with a bound on every wait.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>

namespace exo::serve::testing {

class Client {
 public:
  explicit Client(uint16_t port, int receive_buffer = 0) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~Client() { close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return connected_; }
  bool send(const std::string& bytes) { return ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()); }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

  /// Reads until `end` is in what was read (and keeps what follows), the connection ends, or time is up.
  std::string readUntil(const std::string& end, std::chrono::milliseconds patience = std::chrono::seconds(10)) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (unread_.find(end) == std::string::npos && std::chrono::steady_clock::now() < until && more(until)) {}
    const size_t place = unread_.find(end);
    const size_t size = place == std::string::npos ? unread_.size() : place + end.size();
    std::string text = unread_.substr(0, size);
    unread_.erase(0, size);
    return text;
  }
  std::string readToEnd(std::chrono::milliseconds patience = std::chrono::seconds(10)) { return readUntil("\x01never\x01", patience); }
  bool atEnd() const { return ended_; }

  /// One response with a length or in chunks: head and body, chunks joined.
  struct Response {
    int status = 0;
    std::string head, body;
  };
  Response readResponse() {
    Response response;
    response.head = readUntil("\r\n\r\n");
    if (response.head.size() > 12) response.status = std::atoi(response.head.c_str() + 9);
    const size_t length = response.head.find("Content-Length: ");
    if (length != std::string::npos) response.body = readBytes(static_cast<size_t>(std::atol(response.head.c_str() + length + 16)));
    if (response.head.find("Transfer-Encoding: chunked") == std::string::npos) return response;
    for (;;) {
      const std::string line = readUntil("\r\n");
      const size_t size = std::strtoul(line.c_str(), nullptr, 16);
      response.body += readBytes(size);
      if (readUntil("\r\n").empty() || size == 0) return response;
    }
  }
  Response ask(const std::string& request) {
    send(request);
    return readResponse();
  }

 private:
  std::string readBytes(size_t count) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (unread_.size() < count && more(until)) {}
    std::string text = unread_.substr(0, count);
    unread_.erase(0, count);
    return text;
  }
  bool more(std::chrono::steady_clock::time_point until) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd polled{socket_, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&polled, 1, static_cast<int>(left.count())) <= 0) return false;
    char buffer[16384];
    const ssize_t count = ::recv(socket_, buffer, sizeof buffer, 0);
    if (count <= 0) {
      ended_ = true;
      return false;
    }
    unread_.append(buffer, static_cast<size_t>(count));
    return true;
  }

  int socket_;
  bool connected_ = false, ended_ = false;
  std::string unread_;
};

inline std::string get(const std::string& path, const std::string& headers = "") { return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n"; }
inline std::string post(const std::string& path, const std::string& body, const std::string& headers = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers + "\r\n" + body;
}

}  // namespace exo::serve::testing
