// The byte-level alphabet of GPT-2: every byte as one printable code point. Bytes 0x21–0x7E, 0xA1–0xAC and 0xAE–0xFF stand
// for themselves, the other 68 are U+0100 onwards in order, so that a space is "Ġ".
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "frontend/tokenizer/utf8.h"

namespace exo::tokenizer {

struct ByteAlphabet {
  std::array<char32_t, 256> letter_of_byte{};
  std::array<int16_t, 324> byte_of_letter{};  ///< -1: not in the alphabet

  constexpr ByteAlphabet() {
    byte_of_letter.fill(-1);
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      letter_of_byte[byte] = itself ? byte : next++;
      byte_of_letter[letter_of_byte[byte]] = static_cast<int16_t>(byte);
    }
  }
};
inline constexpr ByteAlphabet kByteAlphabet;

/// Every byte of `bytes` as its letter.
inline std::string toByteAlphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) {
    const char32_t letter = kByteAlphabet.letter_of_byte[static_cast<unsigned char>(byte)];
    if (letter < 0x80) {
      out += static_cast<char>(letter);
    } else {  // two bytes are enough: the last letter is U+0143
      out += static_cast<char>(0xC0 | letter >> 6);
      out += static_cast<char>(0x80 | (letter & 0x3F));
    }
  }
  return out;
}

/// Appends the bytes of a token; a token with a letter outside the alphabet (an added token) stands for itself.
inline void appendFromByteAlphabet(std::string& out, std::string_view token) {
  const size_t before = out.size();
  for (size_t i = 0; i < token.size();) {
    const char32_t letter = nextCodePoint(token, i);
    if (letter >= kByteAlphabet.byte_of_letter.size() || kByteAlphabet.byte_of_letter[letter] < 0) {
      out.resize(before);
      out.append(token);
      return;
    }
    out += static_cast<char>(kByteAlphabet.byte_of_letter[letter]);
  }
}

}  // namespace exo::tokenizer
