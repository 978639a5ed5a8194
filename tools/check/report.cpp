// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <fmt/format.h>

#include <iterator>
#include <utility>

namespace vmcache::check {
namespace {

std::string quoted(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      json += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      json += c;
    }
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
  if (finding.damage && _kept[region]++ >= _most) {
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
  text += fmt::format("; {} pages: {} inner, {} leaf, {} of large values, {} free, {} unreached; {} entries",
                      counts.pages, counts.inner, counts.leaves, counts.large, counts.free, counts.unreached,
                      counts.entries);
  if (counts.records > 0) text += fmt::format("; {} log records", counts.records);
  if (counts.pending) text += fmt::format("; recovery is pending: {} transactions", counts.transactions);
  if (!counts.seals) text += "; pages have no checksums, so only their structure was checked";
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
    text +=
        fmt::format("damage: {}: and {} more\n", to_string(static_cast<Region>(region)), _left_out[region]);
  }
  return text + summary() + "\n";
}

std::string Report::json() const {
  std::string list;
  for (const Finding& finding : _findings) {
    list +=
        fmt::format("{}\n    {{\"damage\": {}, \"region\": {}, \"file\": {}, \"place\": {}, \"what\": {}}}",
                    list.empty() ? "" : ",", finding.damage, quoted(to_string(finding.region)),
                    quoted(finding.file), quoted(finding.place), quoted(finding.what));
  }
  return fmt::format(
      "{{\n  \"sound\": {}, \"complete\": {}, \"recovery_pending\": {}, \"page_checksums\": {},\n"
      "  \"damage\": {}, \"pages\": {}, \"inner\": {}, \"leaves\": {}, \"large\": {}, \"free\": {}, "
      "\"unreached\": {},\n"
      "  \"entries\": {}, \"log_records\": {}, \"transactions\": {},\n  \"findings\": [{}{}]\n}}\n",
      sound(), counts.complete, counts.pending, counts.seals, _damage, counts.pages, counts.inner,
      counts.leaves, counts.large, counts.free, counts.unreached, counts.entries, counts.records,
      counts.transactions, list, list.empty() ? "" : "\n  ");
}

}  // namespace vmcache::check
