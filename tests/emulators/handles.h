/* On top of scenario.h, for libraries made after NVML: cards by index, a handle each, processes, losses.
 *
 * `card N KEY TEXT`, `part N.M KEY TEXT` (part M of card N: a slice, a virtual function). A card exists once it is
 * named, until it has `gone 1`; then the indexes behind it move up. `lost 1`: every call on it answers LOST_CODE.
 * `process PID BYTES` may stand several times. Text `@garbage` fills a buffer with bytes that are no text.
 */
#include "scenario.h"

#ifndef LOST_CODE
#define LOST_CODE 15
#endif
#define MOST_CARDS 32
#define SYSTEM (-1)
#define MAYBE __attribute__((unused)) static

static const char *thing_of(int card) {
    static __thread char names[4][24];
    static __thread int next;
    char *name = names[next++ & 3];
    if (card == SYSTEM) snprintf(name, sizeof names[0], "system");
    else snprintf(name, sizeof names[0], "card %d", card);
    return name;
}

MAYBE const char *say(int card, const char *key) { return find(thing_of(card), key); }

MAYBE const char *say_part(int card, int number, const char *key) {
    char name[24];
    snprintf(name, sizeof name, "part %d.%d", card, number);
    return find(name, key);
}

MAYBE int part_exists(int card, int number) {
    char name[24];
    snprintf(name, sizeof name, "part %d.%d", card, number);
    return exists(name);
}

static int there(int card) { return exists(thing_of(card)) && !say(card, "gone"); }

MAYBE int card_count(void) {
    int count = 0;
    for (int c = 0; c < MOST_CARDS; c++) count += there(c);
    return count;
}

/* The card at a library's index, or -1. */
MAYBE int card_at(unsigned int index) {
    for (int c = 0; c < MOST_CARDS; c++)
        if (there(c) && index-- == 0) return c;
    return -1;
}

/* What every call begins with: 0 to go on, else the code to answer. A call that hangs never returns. */
MAYBE int begin(int card, const char *function) {
    int code = leave(enter(card == SYSTEM ? NULL : thing_of(card), function));
    if (!code && card != SYSTEM && (card < 0 || !there(card) || say(card, "lost"))) code = LOST_CODE;
    return code;
}

/* A number of the scenario; 0 where it says nothing (then *out is untouched). */
MAYBE int real_of(const char *text, double *out) {
    if (!text) return 0;
    *out = strtod(text, NULL);
    return 1;
}

MAYBE int whole_of(const char *text, unsigned long long *out) {
    if (!text) return 0;
    *out = *text == '-' ? (unsigned long long)strtoll(text, NULL, 0) : strtoull(text, NULL, 0);
    return 1;
}

MAYBE int narrow_of(const char *text, unsigned int *out) {
    unsigned long long wide;
    if (!whole_of(text, &wide)) return 0;
    *out = (unsigned int)wide;
    return 1;
}

MAYBE int text_into(const char *text, char *out, unsigned int length) {
    if (!text || !length) return 0;
    if (strcmp(text, "@garbage") == 0) memset(out, 0xfe, length);
    else snprintf(out, length, "%s", text);
    return 1;
}

/* The n-th process of a card: 1 and its pid and bytes, or 0. */
MAYBE int process_of(int card, int n, unsigned int *pid, unsigned long long *bytes) {
    const char *name = thing_of(card);
    for (int i = 0; i < line_count; i++) {
        if (strcmp(lines[i].thing, name) != 0 || strcmp(lines[i].key, "process") != 0) continue;
        if (n-- == 0) return sscanf(lines[i].text, "%u %llu", pid, bytes) == 2;
    }
    return 0;
}
