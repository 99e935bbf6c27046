#include "executor/dashboard/dashboard.h"


// Begin and end of each file in each encoding, from the generated files.S.
#define EXO_DASHBOARD_FILE(symbol, name, hash)                                                                          \
  extern "C" const std::byte symbol##_br[], symbol##_br_end[], symbol##_gz[], symbol##_gz_end[], symbol##_plain[], symbol##_plain_end[];
#include "files.inc"
#undef EXO_DASHBOARD_FILE

namespace exo::dashboard {
namespace {

using Bytes = std::span<const std::byte>;

struct Packed {
  std::string_view name, hash;   // SHA-256 of the plain bytes, hexadecimal
  Bytes brotli, gzip, plain;
};

const Packed kFiles[] = {
#define EXO_DASHBOARD_FILE(symbol, name, hash) {name, hash, {symbol##_br, symbol##_br_end}, {symbol##_gz, symbol##_gz_end}, {symbol##_plain, symbol##_plain_end}},
#include "files.inc"
#undef EXO_DASHBOARD_FILE
};

constexpr std::string_view kIndex = "index.html";

constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
    {".html", "text/html; charset=utf-8"}, {".js", "text/javascript; charset=utf-8"}, {".css", "text/css; charset=utf-8"}, {".svg", "image/svg+xml"}};

// Nothing from elsewhere, nothing inline, nobody's frame. Scripts cannot turn text into markup but through the purifier's
// policy: what a model writes is shown here.
constexpr std::string_view kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

bool equalIgnoringCase(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

/// Whether the parameters of an item say "q=0": not acceptable.
bool refused(std::string_view parameters) {
  const size_t q = parameters.find_first_of("qQ");
  if (q == std::string_view::npos) return false;
  const size_t equals = parameters.find('=', q);
  if (equals == std::string_view::npos) return false;
  const std::string_view value = trimmed(parameters.substr(equals + 1));
  return !value.empty() && value.find_first_not_of("0.") == std::string_view::npos;
}

/// RFC 9110, 12.5.3, but for preferences: of what is acceptable the smaller is sent.
bool accepts(std::string_view accept_encoding, std::string_view coding) {
  bool any = false;
  while (!accept_encoding.empty()) {
    const size_t comma = accept_encoding.find(',');
    const std::string_view item = accept_encoding.substr(0, comma);
    accept_encoding.remove_prefix(comma == std::string_view::npos ? accept_encoding.size() : comma + 1);
    const size_t semicolon = item.find(';');
    const std::string_view name = trimmed(item.substr(0, semicolon));
    const bool good = semicolon == std::string_view::npos || !refused(item.substr(semicolon + 1));
    if (equalIgnoringCase(name, coding)) return good;
    if (name == "*") any = good;
  }
  return any;
}

std::string_view typeOf(std::string_view name) {
  for (const auto& [extension, type] : kTypes)
    if (name.ends_with(extension)) return type;
  return "application/octet-stream";
}

File answer(const Packed& packed, std::string_view accept_encoding) {
  const bool brotli = accepts(accept_encoding, "br"), gzip = !brotli && accepts(accept_encoding, "gzip");
  const std::string_view coding = brotli ? "br" : gzip ? "gzip" : "";
  File file{brotli ? packed.brotli : gzip ? packed.gzip : packed.plain, {}};
  file.headers = {
      {"Content-Type", std::string(typeOf(packed.name))},
      {"ETag", "\"" + std::string(packed.hash.substr(0, 24)) + (coding.empty() ? "" : "-") + std::string(coding) + "\""},
      // Other names hold their content's hash: they never change.
      {"Cache-Control", packed.name == kIndex ? "no-cache" : "public, max-age=31536000, immutable"},
      {"Vary", "Accept-Encoding"},
      {"X-Content-Type-Options", "nosniff"},
      {"Referrer-Policy", "no-referrer"},
      {"Cross-Origin-Opener-Policy", "same-origin"},
      {"Cross-Origin-Resource-Policy", "same-origin"},
      {"Permissions-Policy", "camera=(), geolocation=(), microphone=()"},
      {"Content-Security-Policy", std::string(kContentSecurityPolicy)},
  };
  if (!coding.empty()) file.headers.emplace_back("Content-Encoding", std::string(coding));
  return file;
}

}  // namespace

std::optional<File> find(std::string_view path, std::string_view accept_encoding) {
  if (!path.starts_with('/')) return {};
  const std::string_view name = path == "/" ? kIndex : path.substr(1);
  for (const Packed& packed : kFiles)
    if (packed.name == name) return answer(packed, accept_encoding);
  return {};
}

std::vector<std::string> paths() {
  std::vector<std::string> paths;
  for (const Packed& packed : kFiles) paths.push_back("/" + std::string(packed.name));
  return paths;
}

}  // namespace exo::dashboard
