#include "executor/dashboard/dashboard.h"

#include <gtest/gtest.h>

namespace exo::dashboard {
namespace {

std::string header(const File& file, std::string_view name) {
  for (const auto& [key, value] : file.headers)
    if (key == name) return value;
  return "";
}

std::string text(const File& file) { return {reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()}; }

/// The names that the page itself refers to.
std::vector<std::string> referenced() {
  const std::string html = text(*find("/", ""));
  std::vector<std::string> names;
  for (const std::string attribute : {"href=\"", "src=\""})
    for (size_t at = html.find(attribute); at != std::string::npos; at = html.find(attribute, at + 1)) {
      const size_t begin = at + attribute.size();
      names.push_back(html.substr(begin, html.find('"', begin) - begin));
    }
  return names;
}

TEST(DashboardTest, ThePageIsThereAndRevalidated) {
  const auto page = find("/", "");
  ASSERT_TRUE(page);
  EXPECT_TRUE(text(*page).starts_with("<!doctype html>"));
  EXPECT_EQ(header(*page, "Content-Type"), "text/html; charset=utf-8");
  EXPECT_EQ(header(*page, "Cache-Control"), "no-cache");
  EXPECT_EQ(text(*find("/index.html", "")), text(*page));
}

TEST(DashboardTest, WhatThePageRefersToIsThereForEver) {
  const std::vector<std::string> names = referenced();
  EXPECT_EQ(names.size(), 3u);  // icon, style, script
  for (const std::string& name : names) {
    const auto file = find(name, "br");
    ASSERT_TRUE(file) << name;
    EXPECT_NE(header(*file, "Cache-Control").find("immutable"), std::string::npos) << name;
    EXPECT_NE(header(*file, "Content-Type"), "application/octet-stream") << name;
    EXPECT_GT(file->bytes.size(), 100u) << name;
  }
}

TEST(DashboardTest, TheEncodingIsTheSmallestThatIsAccepted) {
  const auto coding = [](std::string_view accept) { return header(*find("/", accept), "Content-Encoding"); };
  EXPECT_EQ(coding("gzip, deflate, br, zstd"), "br");
  EXPECT_EQ(coding("GZIP"), "gzip");
  EXPECT_EQ(coding("br;q=0, gzip;q=0.5"), "gzip");
  EXPECT_EQ(coding("br; q=0.000, *;q=0.1"), "gzip");
  EXPECT_EQ(coding("*"), "br");
  for (const char* none : {"", "identity", "gzip;q=0", "brotli", ",;,"}) EXPECT_EQ(coding(none), "") << none;
}

TEST(DashboardTest, CompressedFilesAreWhatTheySay) {
  const auto gzip = find("/", "gzip"), plain = find("/", "");
  EXPECT_EQ(std::to_integer<int>(gzip->bytes[0]), 0x1f);
  EXPECT_EQ(std::to_integer<int>(gzip->bytes[1]), 0x8b);
  EXPECT_LT(gzip->bytes.size(), plain->bytes.size());
}

TEST(DashboardTest, EveryEncodingHasItsOwnTag) {
  const auto tag = [](std::string_view accept) { return header(*find("/", accept), "ETag"); };
  EXPECT_NE(tag(""), tag("br"));
  EXPECT_NE(tag("gzip"), tag("br"));
  EXPECT_EQ(tag("").front(), '"');
  EXPECT_EQ(tag("").back(), '"');
}

TEST(DashboardTest, EveryFileForbidsWhatItDoesNotNeed) {
  for (const std::string& path : {std::string("/"), referenced()[0]}) {
    const auto file = find(path, "");
    EXPECT_EQ(header(*file, "X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(header(*file, "Referrer-Policy"), "no-referrer");
    const std::string policy = header(*file, "Content-Security-Policy");
    EXPECT_NE(policy.find("default-src 'none'"), std::string::npos);
    EXPECT_NE(policy.find("frame-ancestors 'none'"), std::string::npos);
    EXPECT_EQ(policy.find("unsafe"), std::string::npos);
  }
}

TEST(DashboardTest, NothingElseIsThere) {
  for (const char* path : {"", "index.html", "//", "/../index.html", "/v1/models", "/index.html/", "/INDEX.HTML"}) EXPECT_FALSE(find(path, "")) << path;
}

}  // namespace
}  // namespace exo::dashboard
