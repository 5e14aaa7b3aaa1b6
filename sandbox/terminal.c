/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terminals of kept commands. What a terminal shows goes into a ring, its scrollback; each viewer has a place in it
 * and begins with all that it holds. A terminal is read as long as one viewer keeps up, or nobody watches: then the
 * ring alone takes it. A viewer that falls a whole ring behind is told so and goes on with the oldest byte there is.
 *
 * The ring stays when the command has ended, for who comes only then, until control says that the command is forgotten or
 * a new terminal needs the place.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "sandbox/serve.h"

enum {
	CHUNK = 4096, /* what a terminal gives and takes at once is no more */
	STEPS_PER_ROUND = 32,
	CLOSE_ENOUGH = INIT_SCROLLBACK / 2, /* to the head, for a viewer that the terminal waits for */
};

static const char skipped[] = "\r\n[output skipped]\r\n";

static void drop_viewer(struct serve *serve, struct viewer *viewer)
{
	serve_drop(serve, &viewer->in);
	serve_drop(serve, &viewer->out);
}

/* Of two that have ended: the one that somebody has seen to its end, or else ended first. */
static bool goes_first(const struct terminal *one, const struct terminal *other)
{
	return one->seen != other->seen ? one->seen : one->ended < other->ended;
}

/* A free place, or one that has to go; NULL when as many run as may. */
static struct terminal *find_place(struct serve *serve)
{
	struct terminal *free = NULL, *oldest = NULL;
	size_t running = 0;

	for (size_t i = 0; i < ARRAY_SIZE(serve->terminals); i++) {
		struct terminal *terminal = &serve->terminals[i];
		if (!terminal->kept)
			free = terminal;
		else if (!terminal->ended)
			running++;
		else if (!oldest || goes_first(terminal, oldest))
			oldest = terminal;
	}
	if (running == INIT_MAX_TERMINALS)
		return NULL;
	return free ? free : oldest;
}

struct terminal *terminal_take(struct serve *serve, struct kept *kept)
{
	struct terminal *found = find_place(serve);

	if (!found)
		return NULL;
	if (found->kept)
		terminal_release(serve, found);
	found->kept = kept;
	found->master = -1;
	for (size_t i = 0; i < ARRAY_SIZE(found->viewers); i++)
		found->viewers[i] = (struct viewer){ .in = -1, .out = -1 };
	return found;
}

void terminal_release(struct serve *serve, struct terminal *terminal)
{
	serve_drop(serve, &terminal->master);
	for (size_t i = 0; i < ARRAY_SIZE(terminal->viewers); i++)
		drop_viewer(serve, &terminal->viewers[i]);
	terminal->kept->terminal = NULL;
	terminal->kept = NULL;
	terminal->seen = terminal->hot = false;
	terminal->ended = terminal->head = 0;
	/* Whole pages, which read as zero when they are next used. */
	madvise(terminal->ring, sizeof(terminal->ring), MADV_DONTNEED);
}

/* ---- moving bytes; each says whether it moved any ---- */

static bool type(struct serve *serve, const struct terminal *terminal, struct viewer *viewer)
{
	if (viewer->in < 0 || terminal->master < 0)
		return false;
	ssize_t n = splice(viewer->in, NULL, terminal->master, NULL, CHUNK, SPLICE_F_NONBLOCK);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		serve_drop(serve, &viewer->in);
	return n > 0;
}

/* Nobody watches, or somebody keeps up. */
static bool may_read(const struct terminal *terminal)
{
	bool watched = false;

	for (size_t i = 0; i < ARRAY_SIZE(terminal->viewers); i++) {
		const struct viewer *viewer = &terminal->viewers[i];
		if (viewer->out < 0)
			continue;
		if (terminal->head - viewer->at < CLOSE_ENOUGH)
			return true;
		watched = true;
	}
	return !watched;
}

static bool read_master(struct terminal *terminal)
{
	const size_t place = terminal->head % INIT_SCROLLBACK, room = INIT_SCROLLBACK - place;

	if (terminal->master < 0)
		return false;
	/* EIO: the command has closed its side, and may open it again. */
	ssize_t n = read(terminal->master, terminal->ring + place, room < CHUNK ? room : CHUNK);
	if (n > 0)
		terminal->head += (uint64_t)n;
	return n > 0;
}

static bool show(struct serve *serve, const struct terminal *terminal, struct viewer *viewer)
{
	ssize_t n;

	if (viewer->out < 0 || viewer->at == terminal->head)
		return false;
	if (terminal->head - viewer->at > INIT_SCROLLBACK) {
		/* Shorter than PIPE_BUF: whole or not at all. */
		n = write(viewer->out, skipped, sizeof(skipped) - 1);
		if (n > 0)
			viewer->at = terminal->head - INIT_SCROLLBACK;
	} else {
		const size_t place = viewer->at % INIT_SCROLLBACK, wrap = INIT_SCROLLBACK - place;
		const uint64_t left = terminal->head - viewer->at;
		n = write(viewer->out, terminal->ring + place, left < wrap ? left : wrap);
		if (n > 0)
			viewer->at += (uint64_t)n;
	}
	if (n < 0 && errno != EAGAIN)
		drop_viewer(serve, viewer);
	return n > 0;
}

/* After the end those who have seen everything go. */
static void settle(struct serve *serve, struct terminal *terminal)
{
	for (size_t i = 0; i < ARRAY_SIZE(terminal->viewers) && terminal->ended; i++) {
		struct viewer *viewer = &terminal->viewers[i];
		if (viewer->out < 0 || viewer->at != terminal->head)
			continue;
		terminal->seen = true;
		drop_viewer(serve, viewer);
	}
}

void terminal_ready(struct serve *serve, size_t index)
{
	struct terminal *terminal = &serve->terminals[index];
	bool moved = terminal->kept != NULL;

	for (int i = 0; i < STEPS_PER_ROUND && moved; i++) {
		moved = may_read(terminal) && read_master(terminal);
		for (size_t j = 0; j < ARRAY_SIZE(terminal->viewers); j++) {
			moved |= type(serve, terminal, &terminal->viewers[j]);
			moved |= show(serve, terminal, &terminal->viewers[j]);
		}
	}
	terminal->hot = moved;
	serve->hot |= moved;
	settle(serve, terminal);
}

/* ---- beginning and end ---- */

void terminal_opened(struct serve *serve, struct terminal *terminal)
{
	const size_t index = (size_t)(terminal - serve->terminals);

	/* If it cannot be watched, a viewer's coming and typing still move what there is. */
	if (terminal->master >= 0)
		serve_watch(serve, terminal->master, SOURCE_TERMINAL, index, EPOLLIN | EPOLLOUT | EPOLLET);
}

int terminal_view(struct serve *serve, struct terminal *terminal, int in, int out)
{
	const size_t index = (size_t)(terminal - serve->terminals);
	struct viewer *viewer = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(terminal->viewers) && !viewer; i++)
		if (terminal->viewers[i].out < 0)
			viewer = &terminal->viewers[i];
	if (!viewer)
		return -EAGAIN;
	serve_drop(serve, &viewer->in);
	if (fcntl(out, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	int r = serve_watch(serve, in, SOURCE_TERMINAL, index, EPOLLIN | EPOLLET);
	if (r == 0)
		r = serve_watch(serve, out, SOURCE_TERMINAL, index, EPOLLOUT | EPOLLET);
	if (r < 0)
		return r;
	*viewer = (struct viewer){
		.in = in, .out = out, .at = terminal->head > INIT_SCROLLBACK ? terminal->head - INIT_SCROLLBACK : 0
	};
	return 0;
}

void terminal_end(struct serve *serve, struct terminal *terminal)
{
	/* What is in the terminal's queue, no more than a ring full: processes that it left behind may go on writing. */
	for (size_t n = 0; n < INIT_SCROLLBACK / CHUNK && read_master(terminal); n++)
		continue;
	serve_drop(serve, &terminal->master);
	terminal->ended = ++serve->n_terminals_ended;
	terminal_ready(serve, (size_t)(terminal - serve->terminals));
}
