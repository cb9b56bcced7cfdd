#include "tests/worker/models/golden_case.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <google/protobuf/text_format.h>

namespace cairn::worker {
namespace {

constexpr const char* kFolder = "tests/oracle/golden";

Result<FieldSpec> ParseField(const std::string& text, int field) {
  std::istringstream in(text);
  std::string kind, pooling, density;
  FieldSpec spec;
  in >> spec.name >> kind >> spec.table >> spec.dim >> pooling >> spec.max_length >> spec.target >>
      spec.linear >> density;
  if (!in) return absl::InvalidArgumentError(StrCat("not a field: ", text));
  spec.field = field;
  spec.kind = kind == "numeric"    ? FieldSpec::Kind::kNumeric
              : kind == "sequence" ? FieldSpec::Kind::kSequence
                                   : FieldSpec::Kind::kCategorical;
  spec.pooling = pooling == "history" ? FieldSpec::Pooling::kHistory
                 : pooling == "sum"   ? FieldSpec::Pooling::kSum
                                      : FieldSpec::Pooling::kMean;
  if (density != "-") spec.density = std::stod(density);
  return spec;
}

// "name [2 3]" and the numbers.
Result<GoldenArray> ParseArray(const std::string& shape, const std::string& text) {
  GoldenArray array;
  std::istringstream dims(shape), numbers(text);
  std::size_t size = 1;
  for (std::uint32_t dim = 0; dims >> dim; size *= dim) array.dims.push_back(dim);
  array.values.reserve(size);
  for (double value = 0; numbers >> value;) array.values.push_back(value);
  if (array.values.size() != size)
    return absl::InvalidArgumentError(StrCat(array.values.size(), " numbers, shape [", shape, "]"));
  return array;
}

template <typename T>
std::vector<T> ValuesAs(const GoldenArray* array) {
  std::vector<T> values;
  if (array == nullptr) return values;
  for (double value : array->values) values.push_back(static_cast<T>(value));
  return values;
}

}  // namespace

Result<GoldenCase> GoldenCase::Read(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(StrCat("no golden file ", path));
  GoldenCase golden;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    RETURN_IF_ERROR(golden.ReadLine(line), path, ":", number);
  }
  return golden;
}

Status GoldenCase::ReadLine(const std::string& line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string::npos) return absl::InvalidArgumentError("no colon");
  const std::string name = line.substr(0, colon), text = line.substr(colon + 1);
  if (name == "model") {
    return google::protobuf::TextFormat::ParseFromString(text, &model_)
               ? absl::OkStatus()
               : absl::InvalidArgumentError("not a model");
  }
  if (name == "field") {
    ASSIGN_OR_RETURN(FieldSpec spec, ParseField(text, static_cast<int>(context_.fields.size())));
    context_.fields.push_back(std::move(spec));
  } else if (name == "seed") {
    context_.seed = std::stoull(text);
  } else if (name == "rows") {
    rows_ = static_cast<std::uint32_t>(std::stoul(text));
  } else if (name == "steps") {
    steps_ = std::stoi(text);
  } else if (name != "draw") {  // which is of no use here
    const std::size_t open = name.find(" ["), close = name.find(']');
    if (open == std::string::npos || close == std::string::npos)
      return absl::InvalidArgumentError(StrCat("no shape: ", name));
    ASSIGN_OR_RETURN(arrays_[name.substr(0, open)],
                     ParseArray(name.substr(open + 2, close - open - 2), text));
  }
  return absl::OkStatus();
}

const GoldenArray* GoldenCase::Find(const std::string& name) const {
  const auto found = arrays_.find(name);
  return found == arrays_.end() ? nullptr : &found->second;
}

int GoldenCase::tables() const {
  int count = 0;
  while (Find(StrCat("table.", count)) != nullptr) ++count;
  return count;
}

Batch GoldenCase::MakeBatch() const {
  Batch batch;
  batch.rows = rows_;
  batch.labels = ValuesAs<float>(Find("label"));
  for (int t = 0; t < tables(); ++t)
    batch.unique_keys.emplace_back(Find(StrCat("table.", t))->dims[0]);
  for (const FieldSpec& field : context_.fields) {
    FieldColumn& column = batch.fields.emplace_back();
    column.index = ValuesAs<std::uint32_t>(Find("index." + field.name));
    column.offsets = ValuesAs<std::uint32_t>(Find("offsets." + field.name));
    column.number = ValuesAs<float>(Find("number." + field.name));
  }
  return batch;
}

std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder, missing))
    if (entry.path().extension() == ".txt") names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

std::string GoldenPath(const std::string& name) { return StrCat(kFolder, "/", name, ".txt"); }

}  // namespace cairn::worker
