from pathlib import Path
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse
from airflow.api_fastapi.core_api.security import requires_authenticated

STATIC = Path(__file__).parent / "static"

def create_app() -> FastAPI:
    app = FastAPI(openapi_url=None, dependencies=[Depends(requires_authenticated())])

    @app.get("/static/{name}")
    def static(name: str):
        if name not in {f.name for f in STATIC.iterdir()}:
            raise HTTPException(404)
        return FileResponse(STATIC / name)

    return app
