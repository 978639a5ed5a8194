// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

namespace vmcache::check {
namespace {

//! Bytes of the character of UTF-8 that `text` begins with; 0 if it does not begin with one.
std::size_t utf8_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  struct Form {
    unsigned mask, lead;
    std::uint32_t min;  // shorter forms are to be used below
  };
  constexpr std::array<Form, 4> kForms{
      {{0x80, 0, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}}};
  for (std::size_t bytes = 1; bytes <= kForms.size(); ++bytes) {
    const Form& form = kForms[bytes - 1];
    if ((byte(0) & form.mask) != form.lead) continue;
    if (bytes > text.size()) return 0;
    std::uint32_t point = byte(0) & ~form.mask & 0xff;
    for (std::size_t i = 1; i < bytes; ++i) {
      if ((byte(i) & 0xc0) != 0x80) return 0;
      point = point << 6 | (byte(i) & 0x3f);
    }
    const bool surrogate = point >= 0xd800 && point < 0xe000;
    return point >= form.min && point <= 0x10ffff && !surrogate ? bytes : 0;
  }
  return 0;
}

//! As JSON has it. Names of files may be any bytes; what is not UTF-8 becomes U+FFFD.
std::string quoted(std::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    const std::size_t bytes = utf8_bytes(text);
    const char c = text[0];
    if (bytes == 0) {
      json += "\\ufffd";
    } else if (bytes > 1) {
      json += text.substr(0, bytes);
    } else if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      json += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      json += c;
    }
    text.remove_prefix(bytes == 0 ? 1 : bytes);
  }
  return json + '"';
}

}  // namespace

std::string_view to_string(Region region) noexcept {
  switch (region) {
    case Region::kStripeLabel:
      return "stripe label";
    case Region::kHeader:
      return "header";
    case Region::kFreeList:
      return "free list";
    case Region::kPageIds:
      return "page ids";
    case Region::kInner:
      return "inner page";
    case Region::kLeaf:
      return "leaf page";
    case Region::kLargeValue:
      return "large value";
    case Region::kNode:
      return "tree page";
    case Region::kMaster:
      return "log master";
    case Region::kSnapshot:
      return "log snapshot";
    case Region::kRecord:
      return "log record";
    case Region::kRecovery:
      return "recovery";
  }
  return "unknown";
}

void Report::add(Finding finding) {
  if (finding.damage) ++_damage;
  const auto region = static_cast<unsigned>(finding.region);
  // Remarks are few, and say how to read the rest.
  if (finding.damage && _kept[region]++ >= _max) {
    ++_left_out[region];
    return;
  }
  _findings.push_back(std::move(finding));
}

std::string Report::summary() const {
  std::string text = !sound()          ? fmt::format("damaged: {} findings", _damage)
                     : counts.complete ? "sound"
                                       : "no damage found";
  if (!counts.complete) text += ", but not everything could be looked at";
  text += fmt::format(
      "; {} pages: {} inner, {} leaf, {} of large values, {} free, {} unreached; {} entries",
      counts.pages, counts.inner, counts.leaves, counts.large, counts.free, counts.unreached,
      counts.entries);
  if (counts.records > 0) text += fmt::format("; {} log records", counts.records);
  if (counts.pending)
    text += fmt::format("; recovery is pending: {} transactions", counts.transactions);
  if (!counts.checksums) text += "; pages have no checksums, so only their structure was checked";
  return text;
}

std::string Report::text() const {
  std::string text;
  for (const Finding& finding : _findings) {
    text += fmt::format("{}: {}: {}{}{}: {}\n", finding.damage ? "damage" : "note", finding.file,
                        to_string(finding.region), finding.place.empty() ? "" : ", ", finding.place,
                        finding.what);
  }
  for (unsigned region = 0; region < kRegions; ++region) {
    if (_left_out[region] == 0) continue;
    text += fmt::format("damage: {}: and {} more\n", to_string(static_cast<Region>(region)),
                        _left_out[region]);
  }
  return text + summary() + "\n";
}

std::string Report::json() const {
  std::string list;
  for (const Finding& finding : _findings) {
    list += fmt::format(
        "{}\n    {{\"damage\": {}, \"region\": {}, \"file\": {}, \"place\": {}, \"what\": {}}}",
        list.empty() ? "" : ",", finding.damage, quoted(to_string(finding.region)),
        quoted(finding.file), quoted(finding.place), quoted(finding.what));
  }
  return fmt::format(
      "{{\n  \"sound\": {}, \"complete\": {}, \"recovery_pending\": {}, \"page_checksums\": {},\n"
      "  \"damage\": {}, \"pages\": {}, \"inner\": {}, \"leaves\": {}, \"large\": {}, \"free\": "
      "{}, "
      "\"unreached\": {},\n"
      "  \"entries\": {}, \"log_records\": {}, \"transactions\": {},\n  \"findings\": [{}{}]\n}}\n",
      sound(), counts.complete, counts.pending, counts.checksums, _damage, counts.pages,
      counts.inner, counts.leaves, counts.large, counts.free, counts.unreached, counts.entries,
      counts.records, counts.transactions, list, list.empty() ? "" : "\n  ");
}

}  // namespace vmcache::check
