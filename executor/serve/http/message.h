// HTTP requests and responses as plain data, apart from sockets and from any library.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/base/result.h"

namespace exo::serve::http {

struct Header {
  std::string name, value;
};
using Headers = std::vector<Header>;

/// The value of the first header of that name in any case, or null.
const std::string* findHeader(const Headers& headers, std::string_view name);
/// ASCII only, as names in HTTP are.
bool equalsIgnoringCase(std::string_view a, std::string_view b);

struct Request {
  std::string method;   // "POST"
  std::string path;     // percent-decoded: "/v1/models/org/name"
  std::string query;    // as it came, without "?"
  Headers headers;
  std::string body;     // content codings undone

  const std::string* header(std::string_view name) const { return findHeader(headers, name); }
};

struct Response {
  int status = 200;
  Headers headers;      // without those of framing (Content-Length, Transfer-Encoding, Connection, Date)
  std::string body;
};

Response textResponse(int status, std::string body, const char* content_type = "text/plain; charset=utf-8");

/// "Not Found". Empty for a status this server never sends.
const char* reasonPhrase(int status);

struct Target {
  std::string path, query;
};
/// Of a request line: "/a%20b?c=d", or absolute as proxies are sent it. Errors: not a path, a broken escape, a zero byte.
Result<Target> parseTarget(std::string_view target);

/// How a body of one piece is framed: the head with its end, for `body_bytes` of body.
enum class After { kKeepAlive, kClose };
std::string responseHead(const Response& response, size_t body_bytes, After after);
/// The head of a body whose length is not known yet.
enum class Framing { kChunked, kUntilClose };
std::string streamHead(const Response& response, Framing framing, After after);
std::string chunk(std::string_view bytes);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace exo::serve::http
