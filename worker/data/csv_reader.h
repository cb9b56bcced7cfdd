// Delimited text, after RFC 4180:
//
//   file   = [UTF-8 byte order mark] [header record] *record
//   record = field *(delimiter field) end-of-line      end-of-line = LF | CR LF | end of file
//   field  = quote *(any byte but quote | quote quote) quote
//          | *(any byte but delimiter and LF), not starting with quote
//
// The delimiter and the end of line lose their meaning inside quotes. A quote after a field's first
// byte is an ordinary byte. Empty lines between records are skipped. An empty data.csv.quote means
// that no byte is a quote.
#pragma once

#include <memory>
#include <string>

#include "common/base/status.h"
#include "worker/data/readers.h"

namespace cairn::worker {

// Columns are those of the header, or data.csv.column where there is none. InvalidArgument: no
// header line, a file in UTF-16, a delimiter or quote that is not one character.
Result<std::unique_ptr<RecordReader>> OpenCsvReader(const proto::DataConfig& config,
                                                    const std::string& path);

Result<std::unique_ptr<RecordSplitter>> MakeCsvSplitter(const proto::DataConfig& config);

}  // namespace cairn::worker
