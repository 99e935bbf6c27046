#include "executor/serve/dialects/page.h"

#include <string_view>

#include "executor/dashboard/dashboard.h"

namespace exo::serve {
namespace {

std::string_view headerOf(const http::Request& request, std::string_view name) {
  const std::string* value = request.header(name);
  return value ? std::string_view(*value) : std::string_view();
}

std::string_view tagOf(const dashboard::File& file) {
  for (const auto& [name, value] : file.headers)
    if (name == "ETag") return value;
  return {};
}

/// Whether the client has this version: If-None-Match is a list of tags, weak ones count too, or "*" (RFC 9110, 13.1.2).
bool isKnown(std::string_view tag, std::string_view if_none_match) {
  while (!if_none_match.empty()) {
    const size_t comma = if_none_match.find(',');
    std::string_view item = if_none_match.substr(0, comma);
    if_none_match.remove_prefix(comma == std::string_view::npos ? if_none_match.size() : comma + 1);
    item.remove_prefix(std::min(item.find_first_not_of(" \t"), item.size()));
    item = item.substr(0, item.find_last_not_of(" \t") + 1);
    if (item.starts_with("W/")) item.remove_prefix(2);
    if (item == tag || item == "*") return true;
  }
  return false;
}

http::Response responseOf(const dashboard::File& file, std::string_view if_none_match) {
  const bool known = isKnown(tagOf(file), if_none_match);
  http::Response response{known ? 304 : 200, {}, known ? "" : std::string(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size())};
  for (const auto& [name, value] : file.headers)
    if (!known || !name.starts_with("Content-") || name == "Content-Security-Policy") response.headers.push_back({std::string(name), value});
  return response;
}

http::Response fileAt(std::string_view path, const http::Request& request) {
  const auto file = dashboard::find(path, headerOf(request, "Accept-Encoding"));
  EXO_CHECK(file.has_value()) << path;   // there is a route to it
  return responseOf(*file, headerOf(request, "If-None-Match"));
}

http::Response root(const http::Request& request) {
  const bool is_browser = headerOf(request, "Accept").find("text/html") != std::string_view::npos;
  http::Response response = is_browser ? fileAt("/", request) : http::textResponse(200, "Ollama is running");
  for (http::Header& header : response.headers)
    if (header.name == "Vary") header.value += ", Accept";
  if (!is_browser) response.headers.push_back({"Vary", "Accept"});
  return response;
}

}  // namespace

std::vector<http::Route> pageRoutes() {
  std::vector<http::Route> routes = {{"GET", "/", [](const http::Request& request, const std::string&, const auto& exchange) { exchange->respond(root(request)); }, http::Key::kNo}};
  for (const std::string& path : dashboard::paths())
    routes.push_back({"GET", path, [path](const http::Request& request, const std::string&, const auto& exchange) { exchange->respond(fileAt(path, request)); }, http::Key::kNo});
  return routes;
}

}  // namespace exo::serve
