#include "executor/serve/http/access.h"

#include <gtest/gtest.h>

#include <fstream>

#include "executor/serve/http/content_coding.h"
#include "executor/serve/http/router.h"

namespace exo::serve::http {
namespace {

Request with(Headers headers) { return {"GET", "/", "", std::move(headers), ""}; }

TEST(Access, HostsThatOnlyWeCanBe) {
  for (const char* host : {"localhost:52415", "127.0.0.1", "[::1]:80", "10.0.0.1:8080", "a.localhost"})
    EXPECT_EQ(checkBrowser({}, with({{"Host", host}})), Access::kAllowed) << host;
  for (const char* host : {"evil.example", "localhost.evil.example:52415", ""}) EXPECT_EQ(checkBrowser({}, with({{"Host", host}})), Access::kBadHost) << host;
  EXPECT_EQ(checkBrowser({.hosts = {"Desk.lan"}}, with({{"host", "desk.lan:52415"}})), Access::kAllowed);
}

TEST(Access, PagesOfOtherOriginsStayOut) {
  const auto from = [](const char* origin) { return with({{"Host", "localhost:52415"}, {"Origin", origin}}); };
  EXPECT_EQ(checkBrowser({}, from("http://localhost:52415")), Access::kAllowed);
  for (const char* origin : {"http://localhost:3000", "https://evil.example", "null", "http://evil.example/localhost:52415"}) EXPECT_EQ(checkBrowser({}, from(origin)), Access::kBadOrigin) << origin;
  EXPECT_EQ(checkBrowser({.origins = {"https://chat.example"}}, from("https://chat.example")), Access::kAllowed);
  EXPECT_EQ(checkBrowser({.origins = {"*"}}, from("null")), Access::kAllowed);
}

TEST(Access, KeysComeInTwoHeaders) {
  const AccessRules rules{.keys = {"first-key", "second-key"}};
  EXPECT_EQ(checkKey({}, with({{"Authorization", "Bearer anything"}})), Access::kAllowed);
  EXPECT_EQ(checkKey(rules, with({})), Access::kNoKey);
  EXPECT_EQ(checkKey(rules, with({{"authorization", "bearer second-key"}})), Access::kAllowed);
  EXPECT_EQ(checkKey(rules, with({{"x-api-key", "first-key"}})), Access::kAllowed);
  EXPECT_EQ(checkKey(rules, with({{"Authorization", "Bearer second-ke"}})), Access::kBadKey);
  EXPECT_EQ(checkKey(rules, with({{"Authorization", "Basic first-key"}})), Access::kNoKey);
}

TEST(Access, KeyFiles) {
  const std::filesystem::path file = std::filesystem::path(::testing::TempDir()) / "exo_keys_test";
  const auto read = [&](const char* text) {
    std::ofstream(file) << text;
    return readKeys(file);
  };
  EXPECT_EQ(*read("# who\nalpha-12345\r\n\nbeta-12345  \n"), (std::vector<std::string>{"alpha-12345", "beta-12345"}));
  EXPECT_FALSE(read("# nobody\n").ok());
  EXPECT_FALSE(read("short\n").ok());
  std::filesystem::remove(file);
  EXPECT_FALSE(readKeys(file).ok());
}

TEST(Router, ExactBeforeRest) {
  const std::vector<Route> routes = {{"GET", "/v1/models/*", {}}, {"GET", "/v1/models", {}}, {"POST", "/v1/models", {}}};
  EXPECT_EQ(findRoute(routes, "GET", "/v1/models").route, &routes[1]);
  EXPECT_EQ(findRoute(routes, "HEAD", "/v1/models/").route, &routes[1]);
  const RouteMatch rest = findRoute(routes, "GET", "/v1/models/org/name");
  EXPECT_EQ(rest.route, &routes[0]);
  EXPECT_EQ(rest.rest, "org/name");
  EXPECT_EQ(findRoute(routes, "DELETE", "/v1/models").allowed, "GET, HEAD, POST");
  EXPECT_EQ(findRoute(routes, "GET", "/v1/model").allowed, "");
}

TEST(Router, AStarInTheMiddle) {
  const std::vector<Route> routes = {{"POST", "/requests/*/cancel", {}}};
  EXPECT_EQ(findRoute(routes, "POST", "/requests/17/cancel").rest, "17");
  EXPECT_EQ(findRoute(routes, "POST", "/requests/a/b/cancel/").rest, "a/b");
  for (const char* path : {"/requests//cancel", "/requests/cancel", "/requests/17", "/requests/17/cancelled", "/v1/requests/17/cancel"}) EXPECT_EQ(findRoute(routes, "POST", path).route, nullptr) << path;
}

TEST(ContentCoding, OrderAndLimits) {
  EXPECT_EQ(*decodeContent("abc", " identity , IDENTITY", 10), "abc");
  EXPECT_EQ(decodeContent("abc", "gzip", 10).error().code(), ErrorCode::kInvalidInput);
  EXPECT_EQ(decodeContent("abc", "zstd", 10).error().code(), ErrorCode::kInvalidInput);
  EXPECT_EQ(decodeContent("abc", "br", 10).error().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(decodeContent("", "gzip,gzip,gzip,gzip,gzip", 10).error().code(), ErrorCode::kUnsupported);
  const std::string zstd("\x28\xb5\x2f\xfd\x04\x58\x19\x00\x00\x68\x69\x0a\x34\x3d\x50\x92", 16);   // printf 'hi\n' | zstd
  EXPECT_EQ(*decodeContent(zstd, "zstd", 10), "hi\n");
  EXPECT_EQ(decodeContent(zstd, "zstd", 2).error().code(), ErrorCode::kDoesNotFit);
  EXPECT_EQ(decodeContent(zstd.substr(0, 10), "zstd", 10).error().code(), ErrorCode::kInvalidInput);
}

}  // namespace
}  // namespace exo::serve::http
