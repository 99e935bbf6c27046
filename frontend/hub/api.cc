#include "frontend/hub/api.h"

#include <algorithm>

#include "frontend/config/json_reader.h"

namespace exo::hub {
namespace {

constexpr uint64_t kMaxDocumentBytes = 16 << 20;
constexpr int kMaxPages = 200;
constexpr size_t kMaxFiles = 100'000;

/// A path in a URL: everything but unreserved characters and '/' as %XX.
std::string escaped(const std::string& path) {
  std::string text;
  for (const unsigned char c : path) {
    if (std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~' || c == '/') {
      text += static_cast<char>(c);
    } else {
      text += '%';
      text += "0123456789ABCDEF"[c >> 4];
      text += "0123456789ABCDEF"[c & 15];
    }
  }
  return text;
}

std::string apiUrl(const Environment& environment, const Repository& repository) { return environment.endpoint + "/api/models/" + repository.id(); }

/// `<URL>; rel="next"` of a Link header (RFC 8288); empty where there is none. A page elsewhere is not followed: the token is for
/// this host.
Result<std::string> nextPage(const HttpDocument& document, const Environment& environment) {
  const auto link = document.headers.find("link");
  if (link == document.headers.end() || link->second.find("rel=\"next\"") == std::string::npos) return std::string();
  const size_t begin = link->second.find('<'), end = link->second.find('>');
  if (begin == std::string::npos || end == std::string::npos || end < begin) return makeError(ErrorCode::kMismatch, "the hub sends a Link header without an address: ", link->second.substr(0, 200));
  std::string url = link->second.substr(begin + 1, end - begin - 1);
  if (url.starts_with('/')) url = environment.endpoint + url;
  if (!url.starts_with(environment.endpoint + "/")) return makeError(ErrorCode::kMismatch, "the hub's list goes on at ", url.substr(0, 200), ", which is not under ", environment.endpoint);
  return url;
}

Result<RemoteFile> fileOf(const JsonObject& entry) {
  RemoteFile file;
  EXO_ASSIGN(file.path, entry.string("path"));
  EXO_TRY(checkPath(file.path));
  EXO_ASSIGN(const auto lfs, entry.findObject("lfs"));
  const JsonObject& content = lfs ? *lfs : entry;
  file.kind = lfs ? RemoteFile::Kind::kSha256 : RemoteFile::Kind::kGitBlob;
  EXO_ASSIGN(file.digest, content.string("oid"));
  EXO_ASSIGN(const int64_t size, content.integer("size", IntegerRange{.min = 0}));
  file.size_bytes = static_cast<uint64_t>(size);
  const size_t digits = lfs ? 64 : 40;
  if (!isHex(file.digest, digits)) return makeError(ErrorCode::kMismatch, file.path, ": expected a digest of ", digits, " hexadecimal digits, the hub says \"", file.digest.substr(0, 80), '"');
  return file;
}

}  // namespace

Result<std::string> resolveCommit(HttpClient& http, const Environment& environment, const Repository& repository) {
  if (isHex(repository.revision, 40)) return repository.revision;
  const std::string url = apiUrl(environment, repository) + "/revision/" + escaped(repository.revision);
  EXO_ASSIGN(const HttpDocument document, http.get(url, kMaxDocumentBytes));
  EXO_ASSIGN(const Json json, parseJson(document.body, url));
  EXO_ASSIGN(const JsonObject root, JsonObject::root(json, url));
  EXO_ASSIGN(std::string commit, root.string("sha"));
  if (!isHex(commit, 40)) return makeError(ErrorCode::kMismatch, url, ": expected a commit of 40 hexadecimal digits, got \"", commit.substr(0, 80), '"');
  return commit;
}

Result<std::vector<RemoteFile>> listFiles(HttpClient& http, const Environment& environment, const Repository& repository, const std::string& commit) {
  std::vector<RemoteFile> files;
  std::string url = apiUrl(environment, repository) + "/tree/" + commit + "?recursive=true";
  for (int page = 0; !url.empty(); ++page) {
    if (page == kMaxPages || files.size() > kMaxFiles) return makeError(ErrorCode::kMismatch, repository.id(), ": expected at most ", kMaxFiles, " files, the hub lists more");
    EXO_ASSIGN(const HttpDocument document, http.get(url, kMaxDocumentBytes));
    EXO_ASSIGN(const Json json, parseJson(document.body, url));
    if (!json.is_array()) return makeError(ErrorCode::kMismatch, url, ": expected a list of files, got ", describe(json));
    for (const Json& item : json) {
      EXO_ASSIGN(const JsonObject entry, JsonObject::root(item, url));
      EXO_ASSIGN(const std::string type, entry.string("type"));
      if (type != "file") continue;
      EXO_ASSIGN(RemoteFile file, fileOf(entry));
      files.push_back(std::move(file));
    }
    EXO_ASSIGN(url, nextPage(document, environment));
  }
  std::sort(files.begin(), files.end(), [](const RemoteFile& a, const RemoteFile& b) { return a.path < b.path; });
  return files;
}

std::string fileUrl(const Environment& environment, const Repository& repository, const std::string& commit, const RemoteFile& file) {
  return environment.endpoint + "/" + repository.id() + "/resolve/" + commit + "/" + escaped(file.path);
}

}  // namespace exo::hub
