/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pattern is matched as the automaton that it is: a state is a place in it, all that hold are followed at once, one
 * character of the path after the other. So nothing is tried twice, and at each slash it is seen whether the directory
 * before it matched, and behind the last character whether something below still could.
 */
#include "sandbox/ignore.h"

enum { STATE_WORDS = FILES_PATH_SIZE / 64 };

struct states {
	uint64_t bits[STATE_WORDS]; /* by offset in the pattern */
};

enum token {
	END,
	CHARACTER,
	ONE, /* "?" */
	SOME, /* "*": any number but of slashes */
	DIRECTORIES, /* "**" or "**" and a slash: nothing, or anything up to a slash */
	EVERYTHING, /* "**" at the end */
	CLASS, /* "[...]" */
};

/* ---- patterns ---- */

/* The character at TEXT, which is not its end, and its length in bytes; of what is no UTF-8 the byte. */
static size_t character(const char *text, uint32_t *ret)
{
	const uint8_t *byte = (const uint8_t *)text;
	size_t n = byte[0] >= 0xf0 && byte[0] < 0xf8 ? 4 : byte[0] >= 0xe0 ? 3 : byte[0] >= 0xc0 ? 2 : 1;
	uint32_t value = n == 1 ? byte[0] : byte[0] & (0x7fU >> n);

	for (size_t i = 1; i < n; i++) {
		if ((byte[i] & 0xc0) != 0x80 || byte[0] >= 0xf8) {
			*ret = byte[0];
			return 1;
		}
		value = value << 6 | (byte[i] & 0x3f);
	}
	*ret = value;
	return n;
}

/* One that is in a class or escaped: its length, or 0 where there is none. */
static size_t class_character(const char *text, uint32_t *ret)
{
	bool escaped = text[0] == '\\';

	if (!text[escaped] || (!escaped && (text[0] == '-' || text[0] == ']')))
		return 0;
	return escaped + character(text + escaped, ret);
}

/* The class at TEXT, behind its "[": whether it has C. Returns its length with the "]", or 0 if it is none. */
static size_t class_has(const char *text, uint32_t c, bool *ret)
{
	bool negated = text[0] == '^', found = false;
	size_t at = negated;
	uint32_t low = 0, high;

	do {
		size_t n = class_character(text + at, &low);
		at += n;
		high = low;
		if (n > 0 && text[at] == '-') {
			n = class_character(text + at + 1, &high);
			at += n + 1;
		}
		if (n == 0 || high < low)
			return 0;
		found = found || (c >= low && c <= high);
	} while (text[at] != ']');
	*ret = found != negated;
	return at + 1;
}

/* The token at TEXT: its length in bytes; 0 at the end, or where it is none (CLASS, CHARACTER). */
static size_t token_at(const char *text, enum token *ret, uint32_t *ret_c)
{
	size_t length;
	bool has;

	switch (text[0]) {
	case '\0':
		*ret = END;
		return 0;
	case '?':
		*ret = ONE;
		return 1;
	case '*':
		length = text[1] != '*' ? 1 : text[2] == '/' ? 3 : 2;
		*ret = length == 1 ? SOME : text[length] ? DIRECTORIES : EVERYTHING;
		return length;
	case '[':
		*ret = CLASS;
		length = class_has(text + 1, 0, &has);
		return length > 0 ? length + 1 : 0;
	case '\\':
		*ret = CHARACTER;
		return text[1] ? 1 + character(text + 1, ret_c) : 0;
	}
	*ret = CHARACTER;
	return character(text, ret_c);
}

static bool pattern_is_valid(const char *pattern)
{
	enum token token;
	uint32_t c;
	size_t at = 0;

	if (!pattern[0] || strlen(pattern) >= FILES_PATH_SIZE)
		return false;
	for (size_t n; (n = token_at(pattern + at, &token, &c)) > 0;)
		at += n;
	return token == END;
}

/* ---- matching ---- */

static bool holds(const struct states *states, size_t at)
{
	return states->bits[at / 64] >> at % 64 & 1;
}

/* The state at AT holds, and with it those behind what may match nothing. */
static void enter(const char *pattern, size_t at, struct states *states)
{
	enum token token;
	uint32_t c;

	for (;;) {
		states->bits[at / 64] |= UINT64_C(1) << at % 64;
		size_t n = token_at(pattern + at, &token, &c);
		if (token != SOME && token != DIRECTORIES && token != EVERYTHING)
			return;
		at += n;
	}
}

/* Where C leads from the state at AT. */
static void follow(const char *pattern, size_t at, uint32_t c, struct states *next)
{
	enum token token;
	uint32_t wanted;
	bool has = false;
	size_t n = token_at(pattern + at, &token, &wanted);

	switch (token) {
	case END:
		break;
	case CHARACTER:
		if (c == wanted)
			enter(pattern, at + n, next);
		break;
	case ONE:
		if (c != '/')
			enter(pattern, at + n, next);
		break;
	case SOME:
		if (c != '/')
			enter(pattern, at, next);
		break;
	case DIRECTORIES:
		/* It ends with a slash only. */
		if (c == '/')
			enter(pattern, at, next);
		else
			next->bits[at / 64] |= UINT64_C(1) << at % 64;
		break;
	case EVERYTHING:
		enter(pattern, at, next);
		break;
	case CLASS:
		class_has(pattern + at + 1, c, &has);
		if (has)
			enter(pattern, at + n, next);
		break;
	}
}

/* From NOW to NEXT by the character C: whether any state of the pattern, N bytes long, holds then. */
static bool step(const char *pattern, size_t n, uint32_t c, const struct states *now, struct states *next)
{
	uint64_t any = 0;

	memset(next->bits, 0, (n / 64 + 1) * sizeof(next->bits[0]));
	for (size_t word = 0; word <= n / 64; word++)
		for (uint64_t bits = now->bits[word]; bits; bits &= bits - 1)
			follow(pattern, word * 64 + (size_t)__builtin_ctzll(bits), c, next);
	for (size_t word = 0; word <= n / 64; word++)
		any |= next->bits[word];
	return any != 0;
}

/* Whether PATTERN matches PATH or a directory above it; if not, whether it could match something below. */
static bool match(const char *pattern, const char *path, bool *ret_below)
{
	struct states states[2] = { 0 };
	size_t end = strlen(pattern);
	unsigned int now = 0;
	uint32_t c;

	*ret_below = false;
	enter(pattern, 0, &states[now]);
	for (size_t n; *path; path += n, now ^= 1) {
		n = character(path, &c);
		if (c == '/' && holds(&states[now], end))
			return true;
		if (!step(pattern, end, c, &states[now], &states[now ^ 1]))
			return false;
	}
	if (holds(&states[now], end))
		return true;
	*ret_below = step(pattern, end, '/', &states[now], &states[now ^ 1]);
	return false;
}

/* ---- parsing ---- */

/*
 * The N bytes at PATH to TO, of at least N + 2 bytes, without ".", ".." and needless slashes; as Go's path.Clean, but
 * also without a slash at the beginning. What would be nothing is ".".
 */
static void clean(char *to, const char *path, size_t n)
{
	size_t used = 0, floor = 0; /* FLOOR: what ".." cannot take away */
	bool rooted = n > 0 && path[0] == '/';

	for (size_t at = 0, length; at < n; at += length + 1) {
		for (length = 0; at + length < n && path[at + length] != '/'; length++)
			continue;
		bool up = length == 2 && path[at] == '.' && path[at + 1] == '.';
		if (length == 0 || (length == 1 && path[at] == '.') || (up && rooted && used == 0))
			continue;
		if (up && used > floor) {
			while (used > floor && to[--used] != '/')
				continue;
			continue;
		}
		if (used > 0)
			to[used++] = '/';
		memcpy(to + used, path + at, length);
		used += length;
		if (up)
			floor = used;
	}
	if (used == 0)
		to[used++] = '.';
	to[used] = '\0';
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Cuts space off both ends of the N bytes at *TEXT; how many are left. */
static size_t trim(const char **text, size_t n)
{
	while (n > 0 && is_space((*text)[n - 1]))
		n--;
	while (n > 0 && is_space(**text)) {
		(*text)++;
		n--;
	}
	return n;
}

/* Adds a line of N bytes, if it is a pattern; it takes no more than the line with its end. */
static int add_line(struct ignore *ignore, const char *line, size_t n)
{
	char *to = ignore->patterns + ignore->n;

	if (n > 0 && line[0] == '#')
		return 0;
	n = trim(&line, n);
	if (n == 0)
		return 0;
	bool exception = line[0] == '!';
	if (exception) {
		*to++ = '!';
		line++;
		n = trim(&line, n - 1);
	}
	if (n == 0 || memchr(line, '\0', n))
		return -EINVAL;
	clean(to, line, n);
	if (!pattern_is_valid(to))
		return -EINVAL;
	ignore->n += exception + strlen(to) + 1;
	return 0;
}

int ignore_parse(struct ignore *ignore, const char *text, size_t n, unsigned int *ret_line)
{
	static const char mark[] = "\xef\xbb\xbf"; /* what some editors put before UTF-8 */
	unsigned int line = 0;

	ignore->n = 0;
	if (n >= sizeof(mark) - 1 && memcmp(text, mark, sizeof(mark) - 1) == 0) {
		text += sizeof(mark) - 1;
		n -= sizeof(mark) - 1;
	}
	for (size_t length; n > 0; n -= length, text += length) {
		const char *end = memchr(text, '\n', n);
		length = end ? (size_t)(end - text) + 1 : n;
		line++;
		if (add_line(ignore, text, end ? length - 1 : length) < 0) {
			*ret_line = line;
			return -EINVAL;
		}
	}
	return 0;
}

void ignore_set_dockerfile(struct ignore *ignore, const char *path)
{
	size_t n = strlen(path);

	clean(ignore->dockerfile, path, n < FILES_PATH_SIZE - 2 ? n : FILES_PATH_SIZE - 2);
}

/* ---- the verdict ---- */

enum ignore_verdict ignore_look(const struct ignore *ignore, const char *path)
{
	size_t n = strlen(path);
	bool out = false, below = strncmp(ignore->dockerfile, path, n) == 0 && ignore->dockerfile[n] == '/';

	for (size_t at = 0; at < ignore->n; at += strlen(ignore->patterns + at) + 1) {
		const char *pattern = ignore->patterns + at;
		bool exception = pattern[0] == '!', could;
		if (match(pattern + exception, path, &could))
			out = !exception;
		else if (exception && could)
			below = true;
	}
	if (!out || streq(path, ignore->dockerfile) || streq(path, IGNORE_FILE))
		return IGNORE_NOT;
	return below ? IGNORE_BUT_BELOW : IGNORE_IT;
}
