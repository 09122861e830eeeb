/*-------------------------------------------------------------------------
 *
 * top.h
 *		What the files of pgqadm top share: the state of queues as last seen,
 *		with its past.
 *
 * top_read.c reads it from the server, top_lines.c writes it as
 * lines or JSON, top_screen.c shows the lines on a terminal,
 * top.c is the command.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQADM_TOP_H
#define PGQADM_TOP_H

#include "admin/admin.h"

/* Samples that a curve can show. */
#define TOP_HISTORY 120

typedef enum TopKind
{
	TOP_SLOT,
	TOP_COPY, /* of the rows that are in a captured table */
	TOP_QUEUE,
	TOP_CONSUMER,
	TOP_KINDS
} TopKind;

/*
 * A slot, a copy, a queue or a consumer.  Numbers that are not known are NAN;
 * what they mean depends on the kind:
 *
 *					slot			copy		queue			consumer
 *		events		ingested		rows		written			finished
 *		lag_events	-				rows left	not ticked		not finished
 *		lag_bytes	WAL				-			-				about
 *		lag_seconds	position's age	time left	tick's age		tick's age
 *		bytes		-				copied		of its tables	-
 *		curve		lag_bytes		rate		rate			lag_seconds
 */
typedef struct TopRow
{
	TopKind kind;
	char *name;
	char *queue;   /* of a consumer or copy, else "" */
	char *state;   /* a word, or "" */
	char *problem; /* "" if all is well */
	double events;
	double rate; /* of events, a second */
	double lag_events;
	double lag_bytes;
	double lag_seconds;
	double bytes;
	double curve[TOP_HISTORY]; /* oldest first */
	int ncurve;
	bool seen; /* in the sample at hand */
} TopRow;

typedef enum TopSort
{
	TOP_BY_LAG,
	TOP_BY_RATE,
	TOP_BY_NAME,
	TOP_SORTS
} TopSort;

typedef struct Top
{
	Admin *admin;
	double interval; /* seconds between two samples */
	bool paused;
	char filter[64]; /* only queues and consumers with this in their names */

	TopRow *rows; /* by kind, then in the server's order */
	int nrows;
	int nsamples;
	double at;      /* clock_seconds() of the last sample */
	char *time;     /* the server's, of the last sample */
	char *title;    /* database and versions */
	char *warnings; /* "" if all is well */

	/* the connection; see top_read.c */
	int link;          /* its state */
	bool writing;      /* libpq wants to write, to connect */
	char *trouble;     /* why there is none, or NULL */
	double due;        /* when to do the next thing, by clock_seconds() */
	double sent_at;    /* when that began which we wait for */
	bool can_capture;  /* the extension has slots and copies */
	bool has_problems; /* it has them as they are since 4.1 */
	int nresults;      /* of this sample so far */
	int nseen;         /* rows of this sample so far */
} Top;

/* top_read.c */
extern void top_start(Top *top, Admin *a);
extern bool top_wait(Top *top, int fd);
extern void top_hurry(Top *top);
extern void top_free(Top *top);

/* top_lines.c */
typedef enum TopStyle
{
	TOP_PLAIN,
	TOP_HEAD,
	TOP_BAD
} TopStyle;

typedef struct TopLine
{
	char *text; /* in the terminal's encoding */
	TopStyle style;
} TopLine;

typedef struct TopLines
{
	TopLine *lines;
	int n;
} TopLines;

extern const char *const top_sort_names[];
extern void top_make_lines(const Top *top, TopSort sort, int width,
						   TopLines *lines);
extern void top_free_lines(TopLines *lines);
extern void top_print_json(const Top *top, FILE *out);

/* top_screen.c */
extern void top_run_screen(Top *top);

#endif /* PGQADM_TOP_H */
