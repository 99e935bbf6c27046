#include "executor/serve/http/router.h"

namespace exo::serve::http {
namespace {

bool hasRest(const Route& route) { return route.pattern.find('*') != std::string::npos; }

bool covers(const Route& route, const std::string& path, std::string& rest) {
  if (!hasRest(route)) return route.pattern == path;
  const size_t star = route.pattern.find('*');
  const std::string before = route.pattern.substr(0, star), behind = route.pattern.substr(star + 1);
  if (path.size() <= before.size() + behind.size() || !path.starts_with(before) || !path.ends_with(behind)) return false;
  rest = path.substr(before.size(), path.size() - before.size() - behind.size());
  return true;
}

std::string withoutSlash(const std::string& path) { return path.size() > 1 && path.ends_with('/') ? path.substr(0, path.size() - 1) : path; }

}  // namespace

RouteMatch findRoute(const std::vector<Route>& routes, const std::string& method, const std::string& given) {
  const std::string path = withoutSlash(given);
  RouteMatch match;
  for (const bool rest_allowed : {false, true}) {
    for (const Route& route : routes) {
      std::string rest;
      if (hasRest(route) != rest_allowed || !covers(route, path, rest)) continue;
      if (route.method == method || (route.method == "GET" && method == "HEAD")) return {&route, rest, ""};
      match.allowed += (match.allowed.empty() ? "" : ", ") + route.method + (route.method == "GET" ? ", HEAD" : "");
    }
    if (!match.allowed.empty()) return match;
  }
  return match;
}

}  // namespace exo::serve::http
