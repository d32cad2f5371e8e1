/// Many records in one call, each with its own outcome.
#pragma once

#include <kms/bytes.hpp>
#include <kms/context.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kms {

/// One record of a batch on its way in. It views its input, which must live until the call returns.
struct batch_record {
    bytes_view input;  ///< the plaintext or the ciphertext
    kms::context context = {};
    kms::context destination_context = {};  ///< for `reencrypt_batch`, the context that the ciphertext is to get

    batch_record(bytes_view in, kms::context with = {}, kms::context destination = {})
        : input(in), context(std::move(with)), destination_context(std::move(destination)) {}
};

/// What became of one record.
template <class Bytes>
class batch_outcome {
public:
    batch_outcome(kms::status why, Bytes value) : status_(why), value_(std::move(value)) {}

    [[nodiscard]] kms::status status() const noexcept { return status_; }
    [[nodiscard]] explicit operator bool() const noexcept { return status_ == kms::status::ok; }

    /// What the call made of the record, or throws why it failed.
    [[nodiscard]] const Bytes &value() const & {
        require();
        return value_;
    }
    [[nodiscard]] Bytes value() && {
        require();
        return std::move(value_);
    }

private:
    void require() const {
        if (status_ != kms::status::ok) {
            detail::raise(status_, "of this record of the batch");
        }
    }

    kms::status status_;
    Bytes value_;
};

namespace detail {

/// The calls of `keystore` with many records. They throw only what is about the whole call, such as a key that isn't
/// there; the others are in the outcomes, in the order of the records.
template <class Keystore>
class batch_calls {
public:
    /// Encrypts under the primary version of `key`, all records under the same.
    [[nodiscard]] std::vector<batch_outcome<bytes>> encrypt_batch(std::string_view key,
                                                                  const std::vector<batch_record> &records) const {
        const c_text name(key);
        return run<bytes>(records, KMS_MAX_OVERHEAD, [&](kms_batch_record *c, std::size_t count) {
            return kms_encrypt_batch(raw(), name, c, sizeof *c, count);
        });
    }

    /// Decrypts each under the version that it names; the keys may differ.
    [[nodiscard]] std::vector<batch_outcome<secret_bytes>> decrypt_batch(const std::vector<batch_record> &records) const {
        return run<secret_bytes>(
            records, 1, [&](kms_batch_record *c, std::size_t count) { return kms_decrypt_batch(raw(), c, sizeof *c, count); });
    }

    /// Moves ciphertexts to the primary version of `destination_key`, a key id or "alias/NAME", all of them to the same;
    /// without one, each to the newest version of the key that it is under.
    [[nodiscard]] std::vector<batch_outcome<bytes>> reencrypt_batch(std::optional<std::string_view> destination_key,
                                                                    const std::vector<batch_record> &records) const {
        const c_text name(destination_key.value_or(""));
        return run<bytes>(records, KMS_MAX_OVERHEAD, [&](kms_batch_record *c, std::size_t count) {
            return kms_reencrypt_batch(raw(), destination_key ? static_cast<const char *>(name) : nullptr, c, sizeof *c, count);
        });
    }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }

    /// Each output is as long as its input and `room` more.
    template <class Bytes, class Call>
    static std::vector<batch_outcome<Bytes>> run(const std::vector<batch_record> &records, std::size_t room, Call &&call) {
        std::vector<std::vector<kms_context_entry>> contexts;
        std::vector<Bytes> outputs;
        std::vector<kms_batch_record> c;
        contexts.reserve(2 * records.size());
        outputs.reserve(records.size());
        c.reserve(records.size());
        for (const batch_record &record : records) {
            contexts.push_back(record.context.entries());
            const auto &from = contexts.back();
            contexts.push_back(record.destination_context.entries());
            const auto &to = contexts.back();
            outputs.emplace_back(record.input.size() + room);
            kms_batch_record one = KMS_BATCH_RECORD_INIT;
            one.input = record.input.data();
            one.input_len = record.input.size();
            one.context = from.data();
            one.context_count = from.size();
            one.destination_context = to.data();
            one.destination_context_count = to.size();
            one.out = outputs.back().data();
            one.out_cap = outputs.back().size();
            c.push_back(one);
        }
        const kms_status returned = call(c.data(), c.size());
        if (returned != KMS_BATCH_PARTIAL) {
            check(returned);
        }
        std::vector<batch_outcome<Bytes>> outcomes;
        outcomes.reserve(c.size());
        for (std::size_t i = 0; i < c.size(); ++i) {
            outputs[i].resize(c[i].status == KMS_OK ? c[i].out_len : 0);
            outcomes.emplace_back(static_cast<status>(c[i].status), std::move(outputs[i]));
        }
        return outcomes;
    }
};

}  // namespace detail

}  // namespace kms
