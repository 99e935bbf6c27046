#include "executor/serve/http/content_coding.h"

#include <zlib.h>
#include <zstd.h>

#include <memory>
#include <vector>

#include "executor/serve/http/message.h"

namespace exo::serve::http {
namespace {

constexpr size_t kPieceBytes = 64 * 1024;
constexpr size_t kMaxCodings = 4;

Error tooLarge(size_t max_bytes) { return makeError(ErrorCode::kDoesNotFit, "the decoded body is larger than ", max_bytes, " bytes"); }

Result<std::string> inflated(std::string_view body, const char* coding, size_t max_bytes) {
  z_stream stream{};
  // 15 + 32: zlib or gzip, by the stream's own header.
  if (inflateInit2(&stream, 15 + 32) != Z_OK) return makeError(ErrorCode::kDoesNotFit, "no memory to decode the body");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));
  stream.avail_in = static_cast<uInt>(body.size());
  std::string out;
  std::vector<char> piece(kPieceBytes);
  for (int state = Z_OK; state != Z_STREAM_END;) {
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    state = inflate(&stream, Z_NO_FLUSH);
    if (state != Z_OK && state != Z_STREAM_END) return invalid("the body is not valid ", coding, " data");
    out.append(piece.data(), piece.size() - stream.avail_out);
    if (out.size() > max_bytes) return tooLarge(max_bytes);
  }
  if (stream.avail_in != 0) return invalid("the body goes on behind its ", coding, " data");
  return out;
}

Result<std::string> zstdDecoded(std::string_view body, size_t max_bytes) {
  const std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream(ZSTD_createDStream(), ZSTD_freeDStream);
  if (!stream) return makeError(ErrorCode::kDoesNotFit, "no memory to decode the body");
  ZSTD_DCtx_setParameter(stream.get(), ZSTD_d_windowLogMax, 27);  // 128 MiB, what decoders must support
  ZSTD_inBuffer in{body.data(), body.size(), 0};
  std::string out;
  std::vector<char> piece(kPieceBytes);
  size_t left = 1;  // 0: a frame is complete
  bool full = false;
  while (in.pos < in.size || (full && left != 0)) {
    ZSTD_outBuffer place{piece.data(), piece.size(), 0};
    left = ZSTD_decompressStream(stream.get(), &place, &in);
    if (ZSTD_isError(left)) return invalid("the body is not valid zstd data: ", ZSTD_getErrorName(left));
    full = place.pos == place.size;
    out.append(piece.data(), place.pos);
    if (out.size() > max_bytes) return tooLarge(max_bytes);
  }
  if (left != 0) return invalid("the body is not valid zstd data: it ends too early");
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> codingsOf(std::string_view list) {
  std::vector<std::string_view> codings;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    const std::string_view coding = trimmed(list.substr(begin, end - begin));
    if (!coding.empty()) codings.push_back(coding);
    begin = end + 1;
  }
  return codings;
}

Result<std::string> decodedOnce(std::string body, std::string_view coding, size_t max_bytes) {
  if (equalsIgnoringCase(coding, "identity")) return body;
  if (equalsIgnoringCase(coding, "gzip") || equalsIgnoringCase(coding, "x-gzip")) return inflated(body, "gzip", max_bytes);
  if (equalsIgnoringCase(coding, "deflate")) return inflated(body, "deflate", max_bytes);
  if (equalsIgnoringCase(coding, "zstd")) return zstdDecoded(body, max_bytes);
  return makeError(ErrorCode::kUnsupported, "Content-Encoding: expected gzip, deflate, zstd or identity, got \"", coding, "\"");
}

}  // namespace

Result<std::string> decodeContent(std::string body, std::string_view list, size_t max_bytes) {
  const std::vector<std::string_view> codings = codingsOf(list);
  if (codings.size() > kMaxCodings) return makeError(ErrorCode::kUnsupported, "Content-Encoding: expected at most ", kMaxCodings, " codings, got ", codings.size());
  for (auto coding = codings.rbegin(); coding != codings.rend(); ++coding) {  // the last was applied last
    EXO_ASSIGN(body, decodedOnce(std::move(body), *coding, max_bytes));
  }
  return body;
}

}  // namespace exo::serve::http
