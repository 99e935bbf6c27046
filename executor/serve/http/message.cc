#include "executor/serve/http/message.h"

#include <algorithm>
#include <cstdio>
#include <ctime>

namespace exo::serve::http {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

int hexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

Result<std::string> percentDecoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hexDigit(text[i + 1]) : -1, low = i + 2 < text.size() ? hexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return invalid("the path has a \"%\" without two hexadecimal digits behind it");
    if (high == 0 && low == 0) return invalid("the path has a zero byte");
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::string dateNow() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[64];
  const size_t size = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return std::string(text, size);
}

std::string headBegin(const Response& response) {
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " " + reasonPhrase(response.status) + "\r\nDate: " + dateNow() + "\r\n";
  for (const Header& header : response.headers) {
    EXO_CHECK((header.name + header.value).find_first_of("\r\n") == std::string::npos) << header.name;
    head += header.name + ": " + header.value + "\r\n";
  }
  return head;
}

const char* connectionLine(After after) { return after == After::kKeepAlive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n"; }

}  // namespace

bool equalsIgnoringCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

const std::string* findHeader(const Headers& headers, std::string_view name) {
  for (const Header& header : headers) {
    if (equalsIgnoringCase(header.name, name)) return &header.value;
  }
  return nullptr;
}

Response textResponse(int status, std::string body, const char* content_type) { return {status, {{"Content-Type", content_type}}, std::move(body)}; }

const char* reasonPhrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    default: return "";
  }
}

Result<Target> parseTarget(std::string_view target) {
  if (target.starts_with("http://") || target.starts_with("https://")) {
    const size_t path = target.find('/', target.find("://") + 3);
    target = path == std::string_view::npos ? "/" : target.substr(path);
  }
  if (!target.starts_with('/')) return invalid("expected a path that begins with \"/\", got \"", target, "\"");
  target = target.substr(0, target.find('#'));
  const size_t question = target.find('?');
  EXO_ASSIGN(std::string path, percentDecoded(target.substr(0, question)));
  return Target{std::move(path), question == std::string_view::npos ? "" : std::string(target.substr(question + 1))};
}

std::string responseHead(const Response& response, size_t body_bytes, After after) {
  std::string head = headBegin(response);
  if (response.status != 204 && response.status != 304) head += "Content-Length: " + std::to_string(body_bytes) + "\r\n";
  return head + connectionLine(after);
}

std::string streamHead(const Response& response, Framing framing, After after) {
  std::string head = headBegin(response);
  if (framing == Framing::kChunked) head += "Transfer-Encoding: chunked\r\n";
  return head + connectionLine(after);
}

std::string chunk(std::string_view bytes) {
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  return std::string(size).append(bytes).append("\r\n");
}

}  // namespace exo::serve::http
