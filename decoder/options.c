/*-------------------------------------------------------------------------
 *
 * options.c
 *		The options of the output plugin.
 *
 * format 'text' (default; one JSON object a row, for people) or 'frames'
 * (event/frame_format.h); proto_version '1'; hold_back 'true' or 'false' (default).
 *
 * Any role with REPLICATION may send what it likes here.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "decoder/decoder.h"

#include "nodes/parsenodes.h"
#include "nodes/value.h"

/*
 * Parse a list of DefElem, whose values are strings or absent.
 *
 * Tells whether frames are wanted, and whether small transactions may be held
 * back.  Raises an error for options and values that it does not know; of two
 * options of one name the later counts.
 */
void
options_parse(List *options, bool *frames, bool *hold_back)
{
	ListCell *lc;

	*frames = *hold_back = false;

	foreach(lc, options)
	{
		DefElem *opt = lfirst_node(DefElem, lc);
		const char *value = opt->arg ? strVal(opt->arg) : "";

		if (strcmp(opt->defname, "format") == 0)
		{
			if (strcmp(value, "frames") != 0 && strcmp(value, "text") != 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("invalid value \"%s\" for option \"format\" of output plugin \"pgq\"",
								value),
						 errhint("Valid values are text and frames.")));
			*frames = strcmp(value, "frames") == 0;
		}
		else if (strcmp(opt->defname, "proto_version") == 0)
		{
			if (strcmp(value, CppAsString2(FRAME_PROTO_VERSION)) != 0)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("proto_version \"%s\" is not supported by output plugin \"pgq\"",
								value),
						 errhint("This server speaks version %d.",
								 FRAME_PROTO_VERSION)));
		}
		else if (strcmp(opt->defname, "hold_back") == 0)
		{
			if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("invalid value \"%s\" for option \"hold_back\" of output plugin \"pgq\"",
								value),
						 errhint("Valid values are true and false.")));
			*hold_back = strcmp(value, "true") == 0;
		}
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown option \"%s\" of output plugin \"pgq\"",
							opt->defname),
					 errhint("Valid options are format, proto_version and hold_back.")));
	}
}
