// `cairn inspect`: look into a checkpoint, or verify it.
#include <gflags/gflags.h>
#include <unistd.h>

#include <charconv>
#include <iostream>
#include <string>
#include <string_view>

#include "launch/commands/commands.h"
#include "launch/commands/flags.h"
#include "launch/inspect/inspect.h"
#include "ps/checkpoint/reader.h"

DEFINE_string(table, "", "NAME: whose rows; needed where there are several tables");
DEFINE_string(key, "", "KEY: only the row of this key, decimal or 0x...");
DEFINE_string(value, "", "TEXT: only the row of this raw value, as it stands in the data");
DEFINE_uint64(limit, 10, "N: at most so many rows; 0: all");
DEFINE_bool(full, false, "all values of a row, not just the first ones");
DEFINE_bool(state, false, "the optimizer's state as well");

namespace cairn::launch {
namespace {

constexpr std::string_view kFlags[] = {"format", "table", "key", "value", "limit", "full", "state"};
constexpr Usage kUsage = {
    .command = "cairn inspect",
    .examples =
        "  cairn inspect runs/dlf_synth summary\n"
        "  cairn inspect runs/dlf_synth rows --table=C1 --value=68fd1e64 --full\n"
        "  cairn inspect runs/dlf_synth rows --table=C1 --limit=0 --format=csv > C1.csv\n"
        "  cairn inspect runs/dlf_synth verify\n"
        "  cairn inspect runs/dlf_synth digest\n",
    .summary =
        "CHECKPOINT is a run directory, its \"checkpoints\" folder or one checkpoint. It is only "
        "read.\n"
        "summary: what it is, how far training was, metrics, tables, shards, files.\n"
        "tables:  each table with its rows per shard.\n"
        "rows:    rows of a table: key, slot, server, updates, pushes, last step, norm, values.\n"
        "verify:  seals, sizes and checksums of all files, blocks of the databases, all rows;\n"
        "         of all checkpoints of a run directory. Exits with 3 and names what is damaged.\n"
        "digest:  SHA-256 of everything trained, of the whole and of each part: equal where two\n"
        "         checkpoints are, whatever number of servers wrote them.\n",
    .arguments = "CHECKPOINT summary|tables|rows|verify|digest",
    .flags = kFlags,
};

bool IsGiven(const char* flag) { return !google::GetCommandLineFlagInfoOrDie(flag).is_default; }

Result<std::uint64_t> ParseKey(std::string_view text) {
  const bool is_hex = text.starts_with("0x") || text.starts_with("0X");
  const std::string_view digits = is_hex ? text.substr(2) : text;
  std::uint64_t key = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), key, is_hex ? 16 : 10);
  if (error == std::errc() && end == digits.data() + digits.size()) return key;
  return absl::InvalidArgumentError(
      StrCat("--key=", text, " is not a 64-bit number, decimal or 0x...; for a raw value of the ",
             "data give --value"));
}

Result<RowsRequest> RowsFlags() {
  RowsRequest request;
  request.table = FLAGS_table;
  if (IsGiven("key")) {
    ASSIGN_OR_RETURN(request.key, ParseKey(FLAGS_key));
  }
  if (IsGiven("value")) request.value = FLAGS_value;
  request.limit = FLAGS_limit;
  request.all_values = FLAGS_full;
  request.with_state = FLAGS_state;
  return request;
}

Status Inspect(const std::string& path, std::string_view verb, Output& out) {
  ASSIGN_OR_RETURN(const Format format, ParseFormat(FLAGS_format));
  ASSIGN_OR_RETURN(const RowsRequest rows, RowsFlags());
  const ShardOpener shards = &ps::ShardReader::Open;
  if (verb == "summary") return InspectSummary(path, format, out, std::cerr);
  if (verb == "tables") return InspectTables(path, format, out, std::cerr);
  if (verb == "rows") return InspectRows(path, rows, format, out, std::cerr, shards);
  if (verb == "digest") return InspectDigest(path, format, out, std::cerr, shards);
  return InspectVerify(path, format, out, std::cerr, shards);
}

}  // namespace

int RunInspect(int argc, char** argv) {
  if (const std::optional<int> code = ParseFlags(kUsage, &argc, &argv)) return *code;
  constexpr std::string_view kVerbs[] = {"summary", "tables", "rows", "verify", "digest"};
  const std::string_view verb = argc == 3 ? argv[2] : "";
  if (std::find(std::begin(kVerbs), std::end(kVerbs), verb) == std::end(kVerbs)) {
    return UsageError(kUsage,
                      "name a checkpoint and what to do: summary, tables, rows, verify or digest");
  }
  Output out(STDOUT_FILENO);
  const Status status = Inspect(argv[1], verb, out);
  return status.ok() ? 0 : ReportError(status);
}

}  // namespace cairn::launch
