// The dashboard's files, which are part of the binary: index.html, a script, a style sheet, an icon. Knows no HTTP library.
// Threads: any; everything is constant.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace exo::dashboard {

using Header = std::pair<std::string_view, std::string>;

struct File {
  std::span<const std::byte> bytes;   // in the encoding that the headers say; lives as long as the program
  std::vector<Header> headers;        // all but Content-Length, Date and Server; the ETag is among them
};

/// What to answer to GET `path` (without query; "/" is the page itself). `accept_encoding`: the request's header, or empty.
/// Nothing: there is no such file, and nothing else is to be sent in its place (views of the page are fragments).
std::optional<File> find(std::string_view path, std::string_view accept_encoding);

/// Of all files but "/", which is one of them by its name, too.
std::vector<std::string> paths();

}  // namespace exo::dashboard
