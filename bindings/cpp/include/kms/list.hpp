/// A list of the keystore as a range, read page by page while it is walked.
#pragma once

#include <kms/status.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace kms {

namespace detail {

/// The handle of a keystore, as a list holds it: closing the keystore still closes it.
class list_source {
public:
    explicit list_source(const std::shared_ptr<kms_t> &open) noexcept : handle_(open), was_open_(open != nullptr) {}

    /// Open until the call that it is made for returns.
    [[nodiscard]] std::shared_ptr<kms_t> open() const {
        std::shared_ptr<kms_t> handle = handle_.lock();
        if (!handle) {
            throw invalid_argument(was_open_ ? "the keystore was closed while its list was read" : "the keystore is closed");
        }
        return handle;
    }

private:
    std::weak_ptr<kms_t> handle_;
    bool was_open_;
};

}  // namespace detail

/// What `for (const auto &item : keystore.keys())` walks over. Items that come or go meanwhile may or may not be seen. Where
/// the keystore has damaged items, the others are seen first, and the end of the list throws.
///
/// A list may outlive its keystore. After `close`, it still has the items of the page that was read, at most `page_size`;
/// reading the next page, or starting over, throws `invalid_argument`.
template <class Item>
class list {
public:
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Item;
        using difference_type = std::ptrdiff_t;
        using pointer = const Item *;
        using reference = const Item &;

        iterator() = default;

        /// Of an end, and of a copy whose original has gone there: throws `std::out_of_range`.
        reference operator*() const {
            if (!state_) {
                throw std::out_of_range("the end of a kms::list");
            }
            return state_->page.at(state_->position);
        }
        pointer operator->() const { return &**this; }
        iterator &operator++() {
            if (!state_ || !state_->step()) {
                state_.reset();
            }
            return *this;
        }
        /// What `*it++` needs: the item survives the step.
        class kept {
        public:
            explicit kept(const Item &item) : item_(item) {}
            const Item &operator*() const { return item_; }

        private:
            Item item_;
        };
        kept operator++(int) {
            kept before(**this);
            ++*this;
            return before;
        }
        friend bool operator==(const iterator &a, const iterator &b) noexcept {
            return a.is_end() ? b.is_end() : a.state_ == b.state_;
        }
        friend bool operator!=(const iterator &a, const iterator &b) noexcept { return !(a == b); }

    private:
        friend class list;
        struct state;
        explicit iterator(std::shared_ptr<state> first) : state_(std::move(first)) {
            if (!state_->turn()) {
                state_.reset();
            }
        }
        bool is_end() const noexcept;

        /// Shared by all copies, which move together: the list is read once.
        std::shared_ptr<state> state_;
    };

    [[nodiscard]] iterator begin() const { return iterator(std::make_shared<typename iterator::state>(read_)); }
    [[nodiscard]] iterator end() const noexcept { return {}; }

    /// How many items one call of the library reads.
    static constexpr std::size_t page_size = 128;

    /// One page for the library's visitor to fill; keeps what can't be thrown through C.
    class page {
    public:
        template <class Make>
        std::int32_t add(Make &&make) noexcept {
            try {
                items_.push_back(make());
                return 0;
            } catch (...) {
                thrown_ = std::current_exception();
                return 1;
            }
        }

    private:
        friend class iterator;
        std::vector<Item> items_;
        std::exception_ptr thrown_;
    };

    /// Reads the page after an item, or the first one.
    using reader = std::function<kms_status(const Item *after, page &out)>;
    explicit list(reader read) : read_(std::move(read)) {}

private:
    reader read_;
};

template <class Item>
struct list<Item>::iterator::state {
    explicit state(reader how) : read(std::move(how)) {}

    /// To the next item; false at the end.
    bool step() { return position < page.size() && (++position < page.size() || turn()); }

    /// Reads the next page; false at the end, which it also reaches after an exception.
    bool turn() {
        position = page.size();
        if (!complete) {
            list::page next;
            const kms_status returned = read(page.empty() ? nullptr : &page.back(), next);
            if (next.thrown_) {
                std::rethrow_exception(next.thrown_);
            }
            complete = next.items_.size() < page_size;
            if (returned == KMS_KEYSTORE_CORRUPT) {
                damaged = detail::last_error();
                found_damage = true;
            } else {
                detail::check(returned);
            }
            if (!next.items_.empty()) {
                page = std::move(next.items_);
                position = 0;
                return true;
            }
        }
        if (std::exchange(found_damage, false)) {
            throw keystore_corrupt(damaged);
        }
        return false;
    }

    reader read;
    std::vector<Item> page;
    std::size_t position = 0;
    bool complete = false;
    bool found_damage = false;
    std::string damaged;
};

template <class Item>
bool list<Item>::iterator::is_end() const noexcept {
    return !state_ || state_->position >= state_->page.size();
}

}  // namespace kms
